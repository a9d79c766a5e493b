// Pooling over windows of one to three axes: what is missing of three axes is 1, in front.
//
// A thread, or for large windows a warp, has one element of the result and reads what belongs to it; gradients of means
// too: an element of x reads the windows that saw it. A maximum's gradient has nothing to go by but the indices: a
// block adds in shared memory.
#include "prims.cuh"

// ---------------------------------------------------------------------- geometry

struct Axis {
    int size, count, kernel, stride, padding, dilation;  // `count` windows over `size` elements
    Divisor by_result, by_stride;                        // the axis' length in the result of the kernel
};
struct Geometry {
    Axis axis[3];
    int include_pad;  // whether the divisor of a mean counts the padding
};

// Element number i of (planes, n0, n1, n2) as its plane and its place on each axis.
struct Place {
    long long plane;
    int at[3];

    __device__ Place(long long i, const Geometry& geometry) {
#pragma unroll
        for (int axis = 2; axis >= 0; --axis) {
            const Divisor& by = geometry.axis[axis].by_result;
            const long long whole = by.quotient(i);
            at[axis] = static_cast<int>(i - whole * by.divisor);
            i = whole;
        }
        plane = i;
    }
};

// ⌊a b / c⌋ and ⌈a b / c⌉. Numbers of 64 bits are divided slowly, and seldom needed.
DEVICE int scaled(int a, int b, int c) {
    const unsigned long long product = static_cast<unsigned long long>(a) * b;
    return product >> 32 ? static_cast<int>(product / c) : static_cast<int>(static_cast<unsigned>(product) / c);
}
DEVICE int scaled_up(int a, int b, int c) {
    const unsigned long long product = static_cast<unsigned long long>(a) * b + (c - 1);
    return product >> 32 ? static_cast<int>(product / c) : static_cast<int>(static_cast<unsigned>(product) / c);
}

// What window number i sees along an axis: begin, begin + step, ... below end; and its share of the mean's divisor.
template <bool ADAPTIVE> struct Window {
    int begin, end, step, area;

    __device__ Window(const Axis& axis, int i, bool include_pad) {
        if (ADAPTIVE) {
            begin = scaled(i, axis.size, axis.count);
            end = scaled_up(i + 1, axis.size, axis.count);
            step = 1;
            area = end - begin;
        } else {
            begin = i * axis.stride - axis.padding;
            const int behind = begin + (axis.kernel - 1) * axis.dilation + 1;
            area = min(behind, axis.size + axis.padding) - begin;
            step = axis.dilation;
            while (begin < 0) begin += step;
            end = min(behind, axis.size);
            if (!include_pad) area = end - begin;
        }
    }
    DEVICE int seen() const { return (end - begin + step - 1) / step; }
};

// The windows that see element i of an axis: from the first on, those below `end`.
template <bool ADAPTIVE> struct Readers {
    int begin, end;

    __device__ Readers(const Axis& axis, int i) {
        if (ADAPTIVE) {
            begin = scaled(i, axis.count, axis.size);
            end = scaled_up(i + 1, axis.count, axis.size);
        } else {
            i += axis.padding;
            begin = i < axis.kernel ? 0 : axis.by_stride(i - axis.kernel) + 1;
            end = min(static_cast<int>(axis.by_stride(i)) + 1, axis.count);
        }
    }
};

// Calls visit(place within the plane) for what the windows on three axes see together: all of it, or a lane's share.
template <int LANES, bool ADAPTIVE, class Visit>
DEVICE void visit_window(const Geometry& geometry, const Window<ADAPTIVE> (&window)[3], Visit visit) {
    const int rows = geometry.axis[1].size, columns = geometry.axis[2].size;
    if (LANES == 1) {
        for (int i = window[0].begin; i < window[0].end; i += window[0].step)
            for (int j = window[1].begin; j < window[1].end; j += window[1].step)
                for (int k = window[2].begin; k < window[2].end; k += window[2].step)
                    visit((i * rows + j) * columns + k);
        return;
    }
    const int of_row = window[2].seen(), of_plane = window[1].seen() * of_row, all = window[0].seen() * of_plane;
    for (int number = threadIdx.x % 32; number < all; number += 32) {
        const int i = number / of_plane, in_plane = number - i * of_plane;
        const int j = in_plane / of_row, k = in_plane - j * of_row;
        visit(((window[0].begin + i * window[0].step) * rows + window[1].begin + j * window[1].step) * columns +
              window[2].begin + k * window[2].step);
    }
}

// ---------------------------------------------------------------------- largest elements

constexpr int NOWHERE = 0x7fffffff;

// The first of the largest elements, or the first NaN: whatever the order in which they are met.
template <class T> struct Best {
    T value;
    int place;

    __device__ Best() : value(-infinity<T>()), place(NOWHERE) {}

    __device__ void meet(T other, int other_place) {
        const bool nan = value != value, other_nan = other != other;
        const bool same = nan ? other_nan : other == value;
        if (same ? other_place < place : other_nan || (!nan && other > value)) {
            value = other;
            place = other_place;
        }
    }
};

template <class T, bool ADAPTIVE, int LANES>
__global__ void __launch_bounds__(256)
max_pool(const T* x, T* y, int* indices, long long results, long long area, Geometry geometry) {
    const long long i = static_cast<long long>(blockIdx.x) * (256 / LANES) + threadIdx.x / LANES;
    if (i >= results) return;  // a whole warp, where it works together
    const Place place(i, geometry);
    const Window<ADAPTIVE> window[3] = {{geometry.axis[0], place.at[0], true},
                                        {geometry.axis[1], place.at[1], true},
                                        {geometry.axis[2], place.at[2], true}};
    x += place.plane * area;
    Best<T> best;
    visit_window<LANES, ADAPTIVE>(geometry, window, [&](int at) { best.meet(x[at], at); });
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        best.meet(__shfl_xor_sync(ALL_LANES, best.value, distance), __shfl_xor_sync(ALL_LANES, best.place, distance));
    if (LANES > 1 && threadIdx.x % LANES) return;
    y[i] = best.value;
    indices[i] = best.place;
}

// y = x at `indices`, which count the elements of a plane.
template <class T>
__global__ void __launch_bounds__(256)
max_pool_gather(const T* x, const int* indices, T* y, long long results, long long area, Geometry geometry) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < results) y[i] = x[Place(i, geometry).plane * area + indices[i]];
}

// Adds each g where its maximum stood. A block has some whole planes of dx, `area` cells each, or one of several
// `bands` of a plane, and goes through their g in C order, one for each thread at a time. Of those that meet in a cell
// the first adds, then the next: so every cell adds up in C order. Shared memory: T sums[cells], then int owner[cells].
template <class T>
__global__ void __launch_bounds__(256)
max_pool_grad(const T* g, const int* indices, T* dx, long long planes, int outputs, int area, int planes_of_block,
              int bands, int cells_of_block) {
    DYNAMIC_SHARED(T, sums);
    int* owner = reinterpret_cast<int*>(sums + cells_of_block);
    const long long plane = blockIdx.x / bands * static_cast<long long>(planes_of_block);
    const int whole = static_cast<int>(min(planes - plane, static_cast<long long>(planes_of_block)));
    const int first = static_cast<int>(blockIdx.x % bands) * cells_of_block;
    const int cells = min(cells_of_block, whole * area - first), all = whole * outputs;
    for (int cell = threadIdx.x; cell < cells; cell += blockDim.x) {
        sums[cell] = 0;
        owner[cell] = NOWHERE;
    }
    for (int start = 0; start < all; start += blockDim.x) {
        const int i = start + threadIdx.x;
        int cell = -1;
        T value = 0;
        if (i < all) {
            cell = i / outputs * area + indices[plane * outputs + i] - first;
            value = g[plane * outputs + i];
        }
        bool waiting = 0 <= cell && cell < cells;
        while (__syncthreads_or(waiting)) {  // and owners are free again
            if (waiting) atomicMin(owner + cell, i);
            __syncthreads();  // the first of each cell is known
            if (waiting && owner[cell] == i) {
                sums[cell] += value;
                owner[cell] = NOWHERE;
                waiting = false;
            }
        }
    }
    __syncthreads();  // the sums are whole
    for (int cell = threadIdx.x; cell < cells; cell += blockDim.x) dx[plane * area + first + cell] = sums[cell];
}

// ---------------------------------------------------------------------- means

template <class T, bool ADAPTIVE, int LANES>
__global__ void __launch_bounds__(256)
avg_pool(const T* x, T* y, long long results, long long area, Geometry geometry) {
    const long long i = static_cast<long long>(blockIdx.x) * (256 / LANES) + threadIdx.x / LANES;
    if (i >= results) return;
    const Place place(i, geometry);
    const bool include_pad = geometry.include_pad;
    const Window<ADAPTIVE> window[3] = {{geometry.axis[0], place.at[0], include_pad},
                                        {geometry.axis[1], place.at[1], include_pad},
                                        {geometry.axis[2], place.at[2], include_pad}};
    x += place.plane * area;
    double sum = 0;
    visit_window<LANES, ADAPTIVE>(geometry, window, [&](int at) { sum += static_cast<double>(x[at]); });
    if (LANES > 1) sum = warp_sum(sum);
    if (LANES > 1 && threadIdx.x % LANES) return;
    const double elements = static_cast<double>(window[0].area) * window[1].area * window[2].area;
    y[i] = static_cast<T>(sum) / static_cast<T>(elements);
}

template <class T, bool ADAPTIVE>
__global__ void __launch_bounds__(256)
avg_pool_grad(const T* g, T* dx, long long results, long long outputs, Geometry geometry) {
    const long long number = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (number >= results) return;
    const Place place(number, geometry);
    const Axis(&axis)[3] = geometry.axis;
    const bool include_pad = geometry.include_pad;
    g += place.plane * outputs;
    const Readers<ADAPTIVE> planes(axis[0], place.at[0]), rows(axis[1], place.at[1]), columns(axis[2], place.at[2]);
    double sum = 0;
    for (int i = planes.begin; i < planes.end; ++i) {
        const T of_plane = static_cast<T>(Window<ADAPTIVE>(axis[0], i, include_pad).area);
        for (int j = rows.begin; j < rows.end; ++j) {
            const T of_row = of_plane * static_cast<T>(Window<ADAPTIVE>(axis[1], j, include_pad).area);
            for (int k = columns.begin; k < columns.end; ++k) {
                const T elements = of_row * static_cast<T>(Window<ADAPTIVE>(axis[2], k, include_pad).area);
                sum += static_cast<double>(g[(i * axis[1].count + j) * axis[2].count + k] / elements);
            }
        }
    }
    dx[number] = static_cast<T>(sum);
}
