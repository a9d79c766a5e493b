// Normalisation of rows (layer and RMS normalisation), and of channels and groups (batch and group normalisation).
//
// A row of up to 32 PER_LANE elements belongs to a warp, which reads it once and keeps it in registers; a longer one to
// a block, which reads it again from the cache. The gradients of weight and bias are sums over rows: every block adds
// up those of its rows, in float32 but of no more than a few rows, and column_sums adds up the blocks in float64.
//
// Channels and groups lie as (images, channels, inner) and are too long for one block: plane_sums sums parts of them,
// finish_statistics or finish_grad adds the parts up, and normalize_planes or its gradient goes over all elements.
//
// PACK elements are read at once: where it is not 1, rows and planes are multiples of it, and every array begins at a
// multiple of 16 bytes. Beside it only the shape decides in which order a sum adds up.
#include "prims.cuh"
#include "sums.cuh"

// Which of weight and bias there are: the bits of `affine`. One that is not there points anywhere.
constexpr int WEIGHT = 1, BIAS = 2;

template <class T, int PACK> DEVICE Pack<T, PACK> filled(T value) {
    Pack<T, PACK> pack;
#pragma unroll
    for (int j = 0; j < PACK; ++j) pack.at[j] = value;
    return pack;
}

// Weights, or ones where there are none; biases, or negative zeros, which change no sum, not even -0.
template <int PACK, class T> DEVICE Pack<T, PACK> weights_of(const T* weight, long long i, int affine) {
    return affine & WEIGHT ? load_pack<PACK>(weight + i) : filled<T, PACK>(1);
}
template <int PACK, class T> DEVICE Pack<T, PACK> biases_of(const T* bias, long long i, int affine) {
    return affine & BIAS ? load_pack<PACK>(bias + i) : filled<T, PACK>(-static_cast<T>(0));
}

// A mean in the dtype of x, which is kept, and what it lost in rounding: x - rounded - rest has the digits of x - mean.
template <class T> struct Mean {
    T rounded, rest;
    __device__ Mean() : rounded(0), rest(0) {}
    __device__ explicit Mean(double mean)
        : rounded(static_cast<T>(mean)), rest(static_cast<T>(mean - static_cast<double>(rounded))) {}
    __device__ T taken_from(T x) const { return (x - rounded) - rest; }
};

// ---------------------------------------------------------------------- a warp for each row

template <class T, bool CENTERED, int PER_LANE, int PACK>
__global__ void __launch_bounds__(128)
row_norm_warp(const T* x, const T* weight, const T* bias, T* y, T* mean, T* rstd, long long rows, int n, T eps,
              int affine) {
    const long long row = static_cast<long long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (row >= rows) return;  // a whole warp leaves
    x += row * n;
    y += row * n;
    Pack<T, PACK> value[PER_LANE / PACK];
    double sum = 0;
#pragma unroll
    for (int i = 0; i < PER_LANE / PACK; ++i) {
        const int column = (lane + 32 * i) * PACK;
        value[i] = column < n ? load_pack<PACK>(x + column) : filled<T, PACK>(0);
#pragma unroll
        for (int j = 0; j < PACK; ++j) sum += static_cast<double>(value[i].at[j]);
    }
    const Mean<T> center = CENTERED ? Mean<T>(warp_sum(sum) / n) : Mean<T>();
    double squares = 0;
#pragma unroll
    for (int i = 0; i < PER_LANE / PACK; ++i) {
        if ((lane + 32 * i) * PACK >= n) continue;
#pragma unroll
        for (int j = 0; j < PACK; ++j) {
            value[i].at[j] = center.taken_from(value[i].at[j]);
            squares += static_cast<double>(value[i].at[j]) * static_cast<double>(value[i].at[j]);
        }
    }
    const T scale = 1 / sqrt(static_cast<T>(warp_sum(squares) / n) + eps);
#pragma unroll
    for (int i = 0; i < PER_LANE / PACK; ++i) {
        const int column = (lane + 32 * i) * PACK;
        if (column >= n) continue;
        const Pack<T, PACK> w = weights_of<PACK>(weight, column, affine), b = biases_of<PACK>(bias, column, affine);
#pragma unroll
        for (int j = 0; j < PACK; ++j) value[i].at[j] = value[i].at[j] * scale * w.at[j] + b.at[j];
        store_pack<PACK>(y + column, value[i]);
    }
    if (lane == 0) {
        if (CENTERED) mean[row] = center.rounded;
        rstd[row] = scale;
    }
}

// Each block takes every gridDim.x-th four rows; partial_weight and partial_bias are (blocks, n).
template <class T, bool CENTERED, int PER_LANE, int PACK>
__global__ void __launch_bounds__(128)
row_norm_grad_warp(const T* g, const T* x, const T* weight, const T* mean, const T* rstd, T* dx, T* partial_weight,
                   T* partial_bias, long long rows, int n, int affine) {
    DYNAMIC_SHARED(T, sums);  // dweight, then dbias
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const double part = 1.0 / n;
    T dweight[PER_LANE], dbias[PER_LANE];
#pragma unroll
    for (int i = 0; i < PER_LANE; ++i) dweight[i] = dbias[i] = 0;
    for (long long row = static_cast<long long>(blockIdx.x) * warps + warp; row < rows;
         row += static_cast<long long>(gridDim.x) * warps) {
        const T center = CENTERED ? mean[row] : static_cast<T>(0), scale = rstd[row];
        Pack<T, PACK> of_g[PER_LANE / PACK], normalized[PER_LANE / PACK];
        double sum = 0, product = 0;
#pragma unroll
        for (int i = 0; i < PER_LANE / PACK; ++i) {
            const int column = (lane + 32 * i) * PACK;
            if (column >= n) continue;
            of_g[i] = load_pack<PACK>(g + row * n + column);
            normalized[i] = load_pack<PACK>(x + row * n + column);
            const Pack<T, PACK> w = weights_of<PACK>(weight, column, affine);
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                normalized[i].at[j] = (normalized[i].at[j] - center) * scale;
                dweight[i * PACK + j] += of_g[i].at[j] * normalized[i].at[j];
                dbias[i * PACK + j] += of_g[i].at[j];
                of_g[i].at[j] *= w.at[j];
                sum += static_cast<double>(of_g[i].at[j]);
                product += static_cast<double>(of_g[i].at[j] * normalized[i].at[j]);
            }
        }
        const T mean_g = CENTERED ? static_cast<T>(warp_sum(sum) * part) : static_cast<T>(0);
        const T mean_product = static_cast<T>(warp_sum(product) * part);
#pragma unroll
        for (int i = 0; i < PER_LANE / PACK; ++i) {
            const int column = (lane + 32 * i) * PACK;
            if (column >= n) continue;
#pragma unroll
            for (int j = 0; j < PACK; ++j)
                of_g[i].at[j] = scale * (of_g[i].at[j] - mean_g - normalized[i].at[j] * mean_product);
            store_pack<PACK>(dx + row * n + column, of_g[i]);
        }
    }
    for (int turn = 0; turn < warps; ++turn) {  // the warps of the block one after another
        if (warp == turn) {
#pragma unroll
            for (int i = 0; i < PER_LANE; ++i) {
                const int column = (lane + 32 * (i / PACK)) * PACK + i % PACK;
                if (column >= n) continue;
                sums[column] = turn == 0 ? dweight[i] : sums[column] + dweight[i];
                if (CENTERED) sums[n + column] = turn == 0 ? dbias[i] : sums[n + column] + dbias[i];
            }
        }
        __syncthreads();
    }
    for (int column = threadIdx.x; column < n; column += blockDim.x) {
        partial_weight[static_cast<long long>(blockIdx.x) * n + column] = sums[column];
        if (CENTERED) partial_bias[static_cast<long long>(blockIdx.x) * n + column] = sums[n + column];
    }
}

// ---------------------------------------------------------------------- a block for each row

template <class T, bool CENTERED, int PACK>
__global__ void __launch_bounds__(256)
row_norm_block(const T* x, const T* weight, const T* bias, T* y, T* mean, T* rstd, long long n, T eps, int affine) {
    x += blockIdx.x * n;
    y += blockIdx.x * n;
    Mean<T> center;
    if (CENTERED) {
        double sum = 0;
#pragma unroll 4
        for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
            const Pack<T, PACK> pack = load_pack<PACK>(x + i);
#pragma unroll
            for (int j = 0; j < PACK; ++j) sum += static_cast<double>(pack.at[j]);
        }
        center = Mean<T>(block_sum(sum) / n);
    }
    double squares = 0;
#pragma unroll 4
    for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
        const Pack<T, PACK> pack = load_pack<PACK>(x + i);
#pragma unroll
        for (int j = 0; j < PACK; ++j) {
            const double difference = static_cast<double>(center.taken_from(pack.at[j]));
            squares += difference * difference;
        }
    }
    const T scale = 1 / sqrt(static_cast<T>(block_sum(squares) / n) + eps);
    for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
        Pack<T, PACK> pack = load_pack<PACK>(x + i);
        const Pack<T, PACK> w = weights_of<PACK>(weight, i, affine), b = biases_of<PACK>(bias, i, affine);
#pragma unroll
        for (int j = 0; j < PACK; ++j) pack.at[j] = center.taken_from(pack.at[j]) * scale * w.at[j] + b.at[j];
        store_pack<PACK>(y + i, pack);
    }
    if (threadIdx.x == 0) {
        if (CENTERED) mean[blockIdx.x] = center.rounded;
        rstd[blockIdx.x] = scale;
    }
}

// Each block takes every gridDim.x-th row. Its sums for weight and bias lie in shared memory or, where they are too
// long for it, in the block's rows of partial_weight and partial_bias; each thread adds to columns of its own.
template <class T, bool CENTERED, int PACK>
__global__ void __launch_bounds__(256)
row_norm_grad_block(const T* g, const T* x, const T* weight, const T* mean, const T* rstd, T* dx, T* partial_weight,
                    T* partial_bias, long long rows, long long n, int affine, int in_shared) {
    DYNAMIC_SHARED(T, shared);
    partial_weight += blockIdx.x * n;
    partial_bias += blockIdx.x * n;
    T* const dweight = in_shared ? shared : partial_weight;
    T* const dbias = in_shared ? shared + n : partial_bias;
    const double part = 1.0 / n;
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const T center = CENTERED ? mean[row] : static_cast<T>(0), scale = rstd[row];
        double sum = 0, product = 0;
#pragma unroll 2
        for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
            const Pack<T, PACK> of_g = load_pack<PACK>(g + row * n + i), of_x = load_pack<PACK>(x + row * n + i);
            const Pack<T, PACK> w = weights_of<PACK>(weight, i, affine);
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                const T h = of_g.at[j] * w.at[j];
                sum += static_cast<double>(h);
                product += static_cast<double>(h * ((of_x.at[j] - center) * scale));
            }
        }
        block_sums(sum, product);
        const T mean_g = CENTERED ? static_cast<T>(sum * part) : static_cast<T>(0);
        const T mean_product = static_cast<T>(product * part);
        for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
            const Pack<T, PACK> of_g = load_pack<PACK>(g + row * n + i), w = weights_of<PACK>(weight, i, affine);
            Pack<T, PACK> pack = load_pack<PACK>(x + row * n + i), of_weight = filled<T, PACK>(0), of_bias = of_weight;
            if (row != blockIdx.x) {  // not the block's first
                of_weight = load_pack<PACK>(dweight + i);
                if (CENTERED) of_bias = load_pack<PACK>(dbias + i);
            }
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                const T normalized = (pack.at[j] - center) * scale;
                of_weight.at[j] += of_g.at[j] * normalized;
                of_bias.at[j] += of_g.at[j];
                pack.at[j] = scale * (of_g.at[j] * w.at[j] - mean_g - normalized * mean_product);
            }
            store_pack<PACK>(dx + row * n + i, pack);
            store_pack<PACK>(dweight + i, of_weight);
            if (CENTERED) store_pack<PACK>(dbias + i, of_bias);
        }
    }
    if (!in_shared) return;
    for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
        store_pack<PACK>(partial_weight + i, load_pack<PACK>(dweight + i));
        if (CENTERED) store_pack<PACK>(partial_bias + i, load_pack<PACK>(dbias + i));
    }
}

// Of two matrices (parts, n), or of one, the sum of each column: blockIdx.y says of which.
template <class T>
__global__ void __launch_bounds__(512)
column_sums(const T* first, const T* second, T* of_first, T* of_second, long long parts, long long n) {
    __shared__ double sums[16][32];
    const T* x = blockIdx.y == 0 ? first : second;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const long long column = static_cast<long long>(blockIdx.x) * 32 + lane;
    double sum = 0;
    if (column < n) {
#pragma unroll 4
        for (long long part = warp; part < parts; part += 16) sum += static_cast<double>(x[part * n + column]);
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp != 0 || column >= n) return;
    for (int other = 1; other < 16; ++other) sum += sums[other][lane];
    (blockIdx.y == 0 ? of_first : of_second)[column] = static_cast<T>(sum);
}

// ---------------------------------------------------------------------- channels and groups

// The part of a channel of (images, channels, inner) that belongs to `THREADS` threads: a piece of the inner axis in
// every image_splits-th image. Pieces are numbered with the channel fastest: sums lie as (pieces of one, channels).
struct Piece {
    long long number, channel, image, begin, end;
};
template <int THREADS>
DEVICE Piece piece_of_thread(long long channels, long long inner, int image_splits, long long chunk) {
    Piece piece;
    piece.number = THREADS == 1 ? static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x
                                : static_cast<long long>(blockIdx.x) * (blockDim.x / THREADS) + threadIdx.x / THREADS;
    const long long split = piece.number / channels;
    piece.channel = piece.number % channels;
    piece.image = split % image_splits;
    piece.begin = split / image_splits * chunk;
    piece.end = piece.begin + chunk < inner ? piece.begin + chunk : inner;
    return piece;
}
template <int THREADS> DEVICE void sums_of_piece(double& a, double& b) {
    if (THREADS == 32) warp_sums(a, b);
    if (THREADS > 32) block_sums(a, b);
}

// What is taken from the values of a channel before they are squared, so that a large mean does not cancel: any of
// them will do, or their mean; but nothing is taken where that is not finite.
template <class T> DEVICE double shift_of(const T* shift, long long shift_step, long long channel) {
    const double value = static_cast<double>(shift[channel * shift_step]);
    return value - value == 0 ? value : 0;
}

// Of each piece Σ (x - shift) and Σ (x - shift)², in float64.
template <class T, int PACK, int THREADS>
__global__ void __launch_bounds__(THREADS == 256 ? 256 : 128)
plane_sums(const T* x, const T* shift, long long shift_step, double* first, double* second, long long images,
           long long channels, long long inner, int image_splits, long long chunk, long long pieces) {
    const Piece piece = piece_of_thread<THREADS>(channels, inner, image_splits, chunk);
    if (piece.number >= pieces) return;  // all threads of the piece
    const double offset = shift_of(shift, shift_step, piece.channel);
    const int lane = threadIdx.x % THREADS;
    double sum = 0, squares = 0;
    for (long long image = piece.image; image < images; image += image_splits) {
        const T* plane = x + (image * channels + piece.channel) * inner;
#pragma unroll 4
        for (long long i = piece.begin + lane * PACK; i < piece.end; i += THREADS * PACK) {
            const Pack<T, PACK> pack = load_pack<PACK>(plane + i);
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                const double difference = static_cast<double>(pack.at[j]) - offset;
                sum += difference;
                squares += difference * difference;
            }
        }
    }
    sums_of_piece<THREADS>(sum, squares);
    if (lane != 0) return;
    first[piece.number] = sum;
    second[piece.number] = squares;
}

// Of each piece Σ g and Σ g (x - mean) rstd; `per_statistic` adjacent channels share mean and rstd.
template <class T, int PACK, int THREADS>
__global__ void __launch_bounds__(THREADS == 256 ? 256 : 128)
plane_sums_grad(const T* g, const T* x, const T* mean, const T* rstd, double* first, double* second, long long images,
                long long channels, long long inner, int image_splits, long long chunk, long long pieces,
                long long per_statistic) {
    const Piece piece = piece_of_thread<THREADS>(channels, inner, image_splits, chunk);
    if (piece.number >= pieces) return;
    const T center = mean[piece.channel / per_statistic], scale = rstd[piece.channel / per_statistic];
    const int lane = threadIdx.x % THREADS;
    double sum = 0, product = 0;
    for (long long image = piece.image; image < images; image += image_splits) {
        const long long plane = (image * channels + piece.channel) * inner;
#pragma unroll 2
        for (long long i = piece.begin + lane * PACK; i < piece.end; i += THREADS * PACK) {
            const Pack<T, PACK> of_g = load_pack<PACK>(g + plane + i), of_x = load_pack<PACK>(x + plane + i);
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                sum += static_cast<double>(of_g.at[j]);
                product += static_cast<double>(of_g.at[j] * ((of_x.at[j] - center) * scale));
            }
        }
    }
    sums_of_piece<THREADS>(sum, product);
    if (lane != 0) return;
    first[piece.number] = sum;
    second[piece.number] = product;
}

// A warp for each channel: the mean, what it lost in rounding, 1 / √(variance + eps) and the biased variance of `count`
// values.
template <class T>
__global__ void __launch_bounds__(128)
finish_statistics(const double* first, const double* second, const T* shift, long long shift_step, T* mean, T* rest,
                  T* rstd, T* variance, long long channels, long long splits, double count, T eps) {
    const long long channel = static_cast<long long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (channel >= channels) return;
    double sum = 0, squares = 0;
    for (long long split = threadIdx.x % 32; split < splits; split += 32) {
        sum += first[split * channels + channel];
        squares += second[split * channels + channel];
    }
    warp_sums(sum, squares);
    if (threadIdx.x % 32 != 0) return;
    const double offset = shift_of(shift, shift_step, channel), beyond = sum / count;
    const double spread = squares / count - beyond * beyond;
    const T rounded = static_cast<T>(spread < 0 ? 0 : spread);
    const T rounded_mean = static_cast<T>(offset + beyond);
    mean[channel] = rounded_mean;
    rest[channel] = static_cast<T>(offset - static_cast<double>(rounded_mean) + beyond);
    variance[channel] = rounded;
    rstd[channel] = 1 / sqrt(rounded + eps);
}

// Of sums (splits, planes), two results. A warp for each of `statistics` groups of adjacent planes: the means of
// g weight and g weight normalized over the group's `count` elements. Then a warp for each channel: dbias and dweight,
// over all planes of the channel.
template <class T>
__global__ void __launch_bounds__(128)
finish_grad(const double* first, const double* second, const T* weight, T* mean_g, T* mean_product, T* dweight,
            T* dbias, long long statistics, long long per_statistic, long long channels, long long planes,
            long long splits, double count, int affine) {
    const long long warp = static_cast<long long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (warp >= statistics + channels) return;
    const bool of_group = warp < statistics;
    const long long begin = of_group ? warp * per_statistic : warp - statistics, step = of_group ? 1 : channels;
    const long long members = of_group ? per_statistic : planes / channels;
    double sum = 0, product = 0;
    for (long long i = threadIdx.x % 32; i < members * splits; i += 32) {
        const long long plane = begin + i % members * step, place = i / members * planes + plane;
        const double w = of_group && affine & WEIGHT ? static_cast<double>(weight[plane % channels]) : 1;
        sum += w * first[place];
        product += w * second[place];
    }
    warp_sums(sum, product);
    if (threadIdx.x % 32 != 0) return;
    if (of_group) {
        mean_g[warp] = static_cast<T>(sum / count);
        mean_product[warp] = static_cast<T>(product / count);
    } else {
        dbias[begin] = static_cast<T>(sum);
        dweight[begin] = static_cast<T>(product);
    }
}

// The elements of (planes, inner): 2^log_columns threads along each plane, the block's other threads in other planes.
// Plane p has statistic p / per_statistic % statistics and channel p % channels.
struct Layout {
    Divisor per_statistic, statistics, channels;
};
struct Place {
    long long plane, statistic, channel, begin, step;
};
template <int PACK> DEVICE Place place_of_thread(int log_columns, const Layout& layout) {
    const int columns = 1 << log_columns;
    Place place;
    place.plane = static_cast<long long>(blockIdx.x) * (blockDim.x >> log_columns) + (threadIdx.x >> log_columns);
    place.statistic = layout.statistics.remainder(layout.per_statistic.quotient(place.plane));
    place.channel = layout.channels.remainder(place.plane);
    place.begin = (static_cast<long long>(blockIdx.y) * columns + threadIdx.x % columns) * PACK;
    place.step = static_cast<long long>(gridDim.y) * columns * PACK;
    return place;
}

template <class T, int PACK>
__global__ void __launch_bounds__(256)
normalize_planes(const T* x, const T* weight, const T* bias, const T* mean, const T* rest, const T* rstd, T* y,
                 long long planes, long long inner, Layout layout, int log_columns, int affine) {
    const Place place = place_of_thread<PACK>(log_columns, layout);
    if (place.plane >= planes) return;
    Mean<T> center;
    center.rounded = mean[place.statistic], center.rest = rest[place.statistic];
    const T scale = rstd[place.statistic];
    const T w = weights_of<1>(weight, place.channel, affine).at[0], b = biases_of<1>(bias, place.channel, affine).at[0];
    x += place.plane * inner;
    y += place.plane * inner;
#pragma unroll 4
    for (long long i = place.begin; i < inner; i += place.step) {
        Pack<T, PACK> pack = load_pack<PACK>(x + i);
#pragma unroll
        for (int j = 0; j < PACK; ++j) pack.at[j] = center.taken_from(pack.at[j]) * scale * w + b;
        store_pack<PACK>(y + i, pack);
    }
}

template <class T, int PACK>
__global__ void __launch_bounds__(256)
normalize_planes_grad(const T* g, const T* x, const T* weight, const T* mean, const T* rstd, const T* mean_g,
                      const T* mean_product, T* dx, long long planes, long long inner, Layout layout, int log_columns,
                      int affine) {
    const Place place = place_of_thread<PACK>(log_columns, layout);
    if (place.plane >= planes) return;
    const T center = mean[place.statistic], scale = rstd[place.statistic];
    const T of_g = mean_g[place.statistic], of_product = mean_product[place.statistic];
    const T w = weights_of<1>(weight, place.channel, affine).at[0];
#pragma unroll 2
    for (long long i = place.plane * inner + place.begin; i < (place.plane + 1) * inner; i += place.step) {
        const Pack<T, PACK> pack = load_pack<PACK>(g + i);
        Pack<T, PACK> result = load_pack<PACK>(x + i);
#pragma unroll
        for (int j = 0; j < PACK; ++j)
            result.at[j] = scale * (pack.at[j] * w - of_g - (result.at[j] - center) * scale * of_product);
        store_pack<PACK>(dx + i, result);
    }
}
