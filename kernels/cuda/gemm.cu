// Products of matrices in row-major order, c = a b + bias: (m, n) = (m, k) (k, n), with batches.
//
// gemm computes on tensor cores, in tiles that a block's warps share: pieces of a and b, 32 deep in k, arrive in shared
// memory by asynchronous copies, STAGES - 1 pieces ahead. PRODUCTS is 3 for results as exact as float32's, by three
// products of split operands in tf32, and 1 for one product of rounded operands. gemm_plain computes in T itself.
//
// Tensor cores cut off what they add to their accumulators: over a long k they would lose digits, all in one direction.
// With three products they add up one piece of 32 only, and float32 additions, which round, add the pieces up.
//
// inf and NaN do not survive the splitting, and the largest floats round to inf: with such an operand a result is not
// finite, whatever it should be. So the block looks at its results and computes those that are not finite again, in
// float32 from the operands themselves. Without any it costs one comparison for each result. Splitting loses digits of
// operands below 5e-35, whose small part is subnormal: 11 digits are left.
#include "prims.cuh"

constexpr int DEPTH = 32;     // elements of k in one stage
constexpr int TILE_ROWS = 8;  // rows of tiles that run together, so that they find each other's operands in the cache

// The numbers that describe a batch of products, in elements. Matrix (outer, inner) of an operand begins at
// outer * its outer step + inner * its inner step. Every part of k is `part` deep but the last.
enum Size { M, N, K, A_LEADING, B_LEADING, INNER, A_OUTER, A_INNER, B_OUTER, B_INNER, PART, PARTS, BIAS, SIZES };
typedef Numbers<long long, SIZES> Sizes;

DEVICE bool finite(float value) { return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u; }

// What one block computes: a tile of one part of one product.
struct Place {
    long long batch, part;
    int row, column;  // where its tile begins

    __device__ Place(const Sizes& sizes, int block_m, int block_n) {
        const unsigned down = static_cast<unsigned>((sizes.at[M] + block_m - 1) / block_m);
        const unsigned across = static_cast<unsigned>((sizes.at[N] + block_n - 1) / block_n);
        const unsigned tile = blockIdx.x % (down * across), rest = blockIdx.x / (down * across);
        const unsigned parts = static_cast<unsigned>(sizes.at[PARTS]);
        part = rest % parts;
        batch = rest / parts;
        const unsigned together = TILE_ROWS * across, first = tile / together * TILE_ROWS;
        const unsigned rows = min(static_cast<unsigned>(TILE_ROWS), down - first);
        row = static_cast<int>(first + tile % together % rows) * block_m;
        column = static_cast<int>(tile % together / rows) * block_n;
    }
};

// A block's tile of a (lines are rows) or of b (lines are columns): WIDTH lines, DEPTH deep. ALONG_K says that memory
// runs along k, else along the lines; PACK elements are copied at once.
template <int WIDTH, int THREADS, bool ALONG_K, int PACK> struct Tile {
    static constexpr int ACROSS = (ALONG_K ? DEPTH : WIDTH) / PACK;  // packs that lie in one piece
    static constexpr int STEP = THREADS / ACROSS, PASSES = WIDTH * DEPTH / PACK / THREADS;
    static_assert(THREADS % ACROSS == 0 && STEP * PASSES == (ALONG_K ? WIDTH : DEPTH), "threads fill the tile");

    const float* source;  // of this thread's first pack in the stage that comes next
    long long leading;
    int lines, line, k, k_end;

    __device__ Tile(const float* matrix, long long leading, int first, int lines, int k_begin, int k_end)
        : leading(leading), lines(lines - first), k_end(k_end) {
        const int outer = static_cast<int>(threadIdx.x) / ACROSS, inner = threadIdx.x % ACROSS * PACK;
        line = ALONG_K ? outer : inner;
        k = ALONG_K ? inner : outer;
        source = matrix + (ALONG_K ? (first + line) * leading + k_begin + k : (k_begin + k) * leading + first + line);
        k += k_begin;
    }

    // Where an element stands in the tile. Packs of 4 change places within their line of memory, so that those which a
    // warp reads at once, or writes at once, lie in different banks.
    static DEVICE int place(int line, int k) {
        if (ALONG_K) return line * DEPTH + ((k / 4) ^ (line % 8)) * 4 + k % 4;
        return k * WIDTH + ((line / 4) ^ (k % 4 * 2)) * 4 + line % 4;
    }

    // Begins to copy the next stage; what is beyond the matrix is 0.
    DEVICE void load(SharedAddress tile) {
        const int in_tile = k % DEPTH;
#pragma unroll
        for (int i = 0; i < PASSES; ++i) {
            const int l = ALONG_K ? line + i * STEP : line, deeper = ALONG_K ? 0 : i * STEP;
            const SharedAddress target = tile + sizeof(float) * place(l, in_tile + deeper);
            const bool valid = l < lines && k + deeper < k_end;
            if (PACK == 4) copy_async_16(target, source + i * STEP * leading, valid);
            else copy_async_4(target, source + i * STEP * leading, valid);
        }
        source += ALONG_K ? DEPTH : DEPTH * leading;
        k += DEPTH;
    }

    // The elements of 16 lines from `line`, 8 deep from `k`, as mma_tf32 takes them for a ...
    static DEVICE void fragment(float (&values)[4], const float* tile, int line, int k) {
        const int lane = threadIdx.x % 32;
        if (ALONG_K) {
            unsigned bits[4];
            load_matrices(bits, shared_address(tile + place(line + lane % 16, k + lane / 16 * 4)));
#pragma unroll
            for (int i = 0; i < 4; ++i) values[i] = __uint_as_float(bits[i]);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                values[i] = tile[place(line + lane / 4 + i % 2 * 8, k + lane % 4 + i / 2 * 4)];
        }
    }
    // ... and twice 8 lines as it takes them for b: two values for the first 8, two for the others.
    static DEVICE void fragments_of_b(float (&values)[4], const float* tile, int line, int k) {
        const int lane = threadIdx.x % 32;
        if (ALONG_K) {
            unsigned bits[4];
            load_matrices(bits, shared_address(tile + place(line + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 4)));
#pragma unroll
            for (int i = 0; i < 4; ++i) values[i] = __uint_as_float(bits[i]);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                values[i] = tile[place(line + lane / 4 + i / 2 * 8, k + lane % 4 + i % 2 * 4)];
        }
    }
};

// Parts of an operand for PRODUCTS products: itself, rounded, and with 3 what the rounding left.
template <int PRODUCTS> DEVICE void split(float value, unsigned& big, unsigned& small) {
    if (PRODUCTS == 3) split_tf32(value, big, small);
    else big = round_tf32(value);
}

// Without parts c is the result; else part p of batch i is written to c + (i PARTS + p) M N, for gemm_sum.
template <int BLOCK_M, int BLOCK_N, int WARP_M, int WARP_N, int STAGES, int PRODUCTS, bool A_ALONG_K, bool B_ALONG_K,
          int PACK>
__global__ void __launch_bounds__((BLOCK_M / WARP_M) * (BLOCK_N / WARP_N) * 32, 1)
gemm(const float* a, const float* b, const float* bias, float* c, Sizes sizes) {
    constexpr int THREADS = (BLOCK_M / WARP_M) * (BLOCK_N / WARP_N) * 32;
    constexpr int DOWN = WARP_M / 16, ACROSS = WARP_N / 8;  // fragments in a warp's tile
    constexpr int A_TILE = BLOCK_M * DEPTH, STAGE = (BLOCK_M + BLOCK_N) * DEPTH;
    typedef Tile<BLOCK_M, THREADS, A_ALONG_K, PACK> TileOfA;
    typedef Tile<BLOCK_N, THREADS, B_ALONG_K, PACK> TileOfB;
    DYNAMIC_SHARED(float, shared);

    const Place place(sizes, BLOCK_M, BLOCK_N);
    const long long outer = place.batch / sizes.at[INNER], inner = place.batch % sizes.at[INNER];
    const int m = static_cast<int>(sizes.at[M]), n = static_cast<int>(sizes.at[N]), k = static_cast<int>(sizes.at[K]);
    const int k_begin = static_cast<int>(place.part * sizes.at[PART]);
    const int k_end = static_cast<int>(min(static_cast<long long>(k), k_begin + sizes.at[PART]));
    const int stages = (k_end - k_begin + DEPTH - 1) / DEPTH;
    a += outer * sizes.at[A_OUTER] + inner * sizes.at[A_INNER];
    b += outer * sizes.at[B_OUTER] + inner * sizes.at[B_INNER];
    c += (place.batch * sizes.at[PARTS] + place.part) * sizes.at[M] * sizes.at[N];
    TileOfA tile_a(a, sizes.at[A_LEADING], place.row, m, k_begin, k_end);
    TileOfB tile_b(b, sizes.at[B_LEADING], place.column, n, k_begin, k_end);

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp % (BLOCK_M / WARP_M) * WARP_M, warp_column = warp / (BLOCK_M / WARP_M) * WARP_N;
    const SharedAddress begin = shared_address(shared);
    float total[DOWN][ACROSS][4], piece[DOWN][ACROSS][4];  // with one product, piece alone
#pragma unroll
    for (int i = 0; i < DOWN * ACROSS * 4; ++i)
        total[i / (ACROSS * 4)][i / 4 % ACROSS][i % 4] = piece[i / (ACROSS * 4)][i / 4 % ACROSS][i % 4] = 0;

#pragma unroll
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        if (stage < stages) {
            tile_a.load(begin + sizeof(float) * (stage * STAGE));
            tile_b.load(begin + sizeof(float) * (stage * STAGE + A_TILE));
        }
        copy_async_commit();
    }
    int reading = 0, writing = STAGES - 1;
    for (int stage = 0; stage < stages; ++stage) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();  // the stage has arrived for all, and all have read the one that is overwritten now
        if (stage + STAGES - 1 < stages) {
            tile_a.load(begin + sizeof(float) * (writing * STAGE));
            tile_b.load(begin + sizeof(float) * (writing * STAGE + A_TILE));
        }
        copy_async_commit();
        const float *of_a = shared + reading * STAGE, *of_b = of_a + A_TILE;
        reading = reading + 1 == STAGES ? 0 : reading + 1;
        writing = writing + 1 == STAGES ? 0 : writing + 1;
#pragma unroll
        for (int depth = 0; depth < DEPTH; depth += 8) {
            unsigned b_big[ACROSS][2], b_small[ACROSS][2];
#pragma unroll
            for (int j = 0; j < ACROSS; j += 2) {
                float values[4];
                TileOfB::fragments_of_b(values, of_b, warp_column + j * 8, depth);
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    split<PRODUCTS>(values[e], b_big[j + e / 2][e % 2], b_small[j + e / 2][e % 2]);
            }
#pragma unroll
            for (int i = 0; i < DOWN; ++i) {
                float values[4];
                unsigned a_big[4], a_small[4];
                TileOfA::fragment(values, of_a, warp_row + i * 16, depth);
#pragma unroll
                for (int e = 0; e < 4; ++e) split<PRODUCTS>(values[e], a_big[e], a_small[e]);
                if (PRODUCTS == 3) {  // the small ones first; each loop's products do not wait for each other
#pragma unroll
                    for (int j = 0; j < ACROSS; ++j) mma_tf32(piece[i][j], a_small, b_big[j]);
#pragma unroll
                    for (int j = 0; j < ACROSS; ++j) mma_tf32(piece[i][j], a_big, b_small[j]);
                }
#pragma unroll
                for (int j = 0; j < ACROSS; ++j) mma_tf32(piece[i][j], a_big, b_big[j]);
            }
        }
        if (PRODUCTS == 3) {
#pragma unroll
            for (int i = 0; i < DOWN; ++i)
#pragma unroll
                for (int j = 0; j < ACROSS; ++j)
#pragma unroll
                    for (int e = 0; e < 4; ++e) total[i][j][e] += piece[i][j][e], piece[i][j][e] = 0;
        }
    }
    copy_async_wait<0>();

    const int first_row = place.row + warp_row + lane / 4, first_column = place.column + warp_column + lane % 4 * 2;
    const bool add_bias = sizes.at[BIAS] != 0, pairs = n % 2 == 0;
    bool all_finite = true;
#pragma unroll
    for (int i = 0; i < DOWN * 2; ++i)
#pragma unroll
        for (int j = 0; j < ACROSS; ++j) {
            const int row = first_row + i * 8, column = first_column + j * 8;
            if (row >= m || column >= n) continue;
            float* target = c + static_cast<long long>(row) * n + column;
            Pack<float, 2> result;
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                result.at[e] = (PRODUCTS == 3 ? total : piece)[i / 2][j][i % 2 * 2 + e];
                if (add_bias && column + e < n) result.at[e] += bias[column + e];
                all_finite &= finite(result.at[e]) || column + e >= n;
            }
            if (pairs) store_pack<2>(target, result);
            else {
                target[0] = result.at[0];
                if (column + 1 < n) target[1] = result.at[1];
            }
        }
    if (all_finite) return;
    const long long a_row = A_ALONG_K ? sizes.at[A_LEADING] : 1, a_deeper = A_ALONG_K ? 1 : sizes.at[A_LEADING];
    const long long b_column = B_ALONG_K ? sizes.at[B_LEADING] : 1, b_deeper = B_ALONG_K ? 1 : sizes.at[B_LEADING];
#pragma unroll 1
    for (int i = 0; i < DOWN * 2 * ACROSS * 2; ++i) {  // this thread's results, which it reads back
        const int row = first_row + i / (ACROSS * 2) * 8, column = first_column + i / 2 % ACROSS * 8 + i % 2;
        if (row >= m || column >= n) continue;
        float& result = c[static_cast<long long>(row) * n + column];
        if (finite(result)) continue;
        float sum = 0;
#pragma unroll 1
        for (long long l = k_begin; l < k_end && sum == sum; ++l)  // NaN stays NaN
            sum = __fmaf_rn(a[row * a_row + l * a_deeper], b[column * b_column + l * b_deeper], sum);
        result = add_bias ? sum + bias[column] : sum;
    }
}

// c[batch, i] = Σ over parts of partial[batch, part, i], in their order, + bias[i % n]; count is M N.
template <class T>
__global__ void __launch_bounds__(256) gemm_sum(const T* partial, const T* bias, T* c, long long count, Sizes sizes) {
    const long long parts = sizes.at[PARTS], blocks = (count + blockDim.x - 1) / blockDim.x;
    const long long batch = blockIdx.x / blocks, i = blockIdx.x % blocks * blockDim.x + threadIdx.x;
    if (i >= count) return;
    partial += batch * parts * count + i;
    T sum = 0;
    for (long long part = 0; part < parts; ++part) sum += partial[part * count];
    c[batch * count + i] = sizes.at[BIAS] ? sum + bias[i % sizes.at[N]] : sum;
}

// The same product in T itself, without parts: tiles of 64 by 64, 16 deep, 16 results for each of 256 threads. The sum
// over k is a sum of sums over 16. A leading dimension belongs to memory along k where A_ALONG_K or B_ALONG_K.
constexpr int PLAIN_TILE = 64, PLAIN_DEPTH = 16;
template <class T, bool A_ALONG_K, bool B_ALONG_K>
__global__ void __launch_bounds__(256) gemm_plain(const T* a, const T* b, const T* bias, T* c, Sizes sizes) {
    __shared__ T tile_a[PLAIN_DEPTH][PLAIN_TILE + 1], tile_b[PLAIN_DEPTH][PLAIN_TILE + 1];
    const Place place(sizes, PLAIN_TILE, PLAIN_TILE);
    const long long outer = place.batch / sizes.at[INNER], inner = place.batch % sizes.at[INNER];
    const int m = static_cast<int>(sizes.at[M]), n = static_cast<int>(sizes.at[N]), k = static_cast<int>(sizes.at[K]);
    a += outer * sizes.at[A_OUTER] + inner * sizes.at[A_INNER];
    b += outer * sizes.at[B_OUTER] + inner * sizes.at[B_INNER];
    c += place.batch * sizes.at[M] * sizes.at[N];
    const int down = threadIdx.x / 16, across = threadIdx.x % 16;
    T total[4][4] = {};
    for (int begin = 0; begin < k; begin += PLAIN_DEPTH) {
#pragma unroll
        for (int i = threadIdx.x; i < PLAIN_TILE * PLAIN_DEPTH; i += 256) {
            const int a_line = A_ALONG_K ? i / PLAIN_DEPTH : i % PLAIN_TILE, row = place.row + a_line;
            const int b_line = B_ALONG_K ? i / PLAIN_DEPTH : i % PLAIN_TILE, column = place.column + b_line;
            const int a_deep = A_ALONG_K ? i % PLAIN_DEPTH : i / PLAIN_TILE;
            const int b_deep = B_ALONG_K ? i % PLAIN_DEPTH : i / PLAIN_TILE;
            const long long a_k = begin + a_deep, b_k = begin + b_deep;
            const long long of_a = A_ALONG_K ? row * sizes.at[A_LEADING] + a_k : a_k * sizes.at[A_LEADING] + row;
            const long long of_b = B_ALONG_K ? column * sizes.at[B_LEADING] + b_k : b_k * sizes.at[B_LEADING] + column;
            tile_a[a_deep][a_line] = row < m && a_k < k ? a[of_a] : 0;
            tile_b[b_deep][b_line] = column < n && b_k < k ? b[of_b] : 0;
        }
        __syncthreads();
        T piece[4][4] = {};
#pragma unroll
        for (int deep = 0; deep < PLAIN_DEPTH; ++deep)
#pragma unroll
            for (int i = 0; i < 16; ++i)
                piece[i / 4][i % 4] =
                    fma(tile_a[deep][down + i / 4 * 16], tile_b[deep][across + i % 4 * 16], piece[i / 4][i % 4]);
#pragma unroll
        for (int i = 0; i < 16; ++i) total[i / 4][i % 4] += piece[i / 4][i % 4];
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        const int row = place.row + down + i / 4 * 16, column = place.column + across + i % 4 * 16;
        if (row < m && column < n)
            c[static_cast<long long>(row) * n + column] = total[i / 4][i % 4] + (sizes.at[BIAS] ? bias[column] : 0);
    }
}
