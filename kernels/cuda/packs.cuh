// What kernels share that walk over arrays 16 bytes at a time, whatever their length and wherever they begin.
// prims.cuh must stand before it.
#pragma once

template <class T> constexpr int PACK = 16 / sizeof(T);  // elements that are read at once

// Whether whole packs may be read there: a view need not begin at a multiple of 16 bytes.
DEVICE bool aligned_16(const void* address) { return reinterpret_cast<unsigned long long>(address) % 16 == 0; }

// The elements from `address` on, of which `count` are left: a whole pack at once, or those that exist, and zeros.
template <class T> DEVICE Pack<T, PACK<T>> load_some(const T* address, long long count, bool aligned) {
    if (aligned && count >= PACK<T>) return load_pack<PACK<T>>(address);
    Pack<T, PACK<T>> pack;
#pragma unroll
    for (int j = 0; j < PACK<T>; ++j) pack.at[j] = j < count ? address[j] : T(0);
    return pack;
}
template <class T>
DEVICE void store_some(T* address, const Pack<T, PACK<T>>& pack, long long count, bool aligned) {
    if (aligned && count >= PACK<T>) {
        store_pack<PACK<T>>(address, pack);
        return;
    }
#pragma unroll
    for (int j = 0; j < PACK<T>; ++j)
        if (j < count) address[j] = pack.at[j];
}
