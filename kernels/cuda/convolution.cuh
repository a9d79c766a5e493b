// What the kernels of convolution share: sizes, where windows lie, and products of tiles on tensor cores.
//
// A transposed convolution is done in phases. Along an axis of stride s, the outputs r, r + s, r + 2s … of phase r are
// reached by every (s / gcd(s, dilation))-th tap of the kernel, and the elements of x that those taps meet lie evenly:
// each phase is a convolution of stride 1 with a smaller kernel, and writes every s-th output. A convolution is the
// case of one phase that writes every output.
#pragma once
#include "prims.cuh"

// Sizes along three axes: of a sequence or an image the first axes have size 1.
struct Geometry {
    int images, groups;
    int channels, outputs;   // of x and of y (or of g, the gradient of y), in one group
    int x_size[3], y_size[3];
    int kernel[3], stride[3], padding[3], dilation[3];
    int phases[3];           // of a transposed convolution; else 1
    int transposed, biased;
};

// Output j and tap t of one axis meet x at first + step j + dilation t and y at y_first + y_step j. Tap t is element
// tap_first + tap_step t of the kernel.
struct Axis {
    int size, count, taps;   // elements of x; outputs; taps
    int first, step, dilation;
    int y_size, y_first, y_step;
    int tap_first, tap_step;
};

// One phase. Pixels are numbered over images and outputs, rows of the matrix of windows over channels and taps.
struct Windows {
    Axis axis[3];
    int taps, rows, pixels, image_pixels;
    int x_plane, y_plane;    // elements of a channel
};

DEVICE Axis axis_of(const Geometry& geometry, int number, int phase) {
    const int stride = geometry.stride[number], dilation = geometry.dilation[number];
    const int padding = geometry.padding[number], kernel = geometry.kernel[number];
    Axis axis;
    axis.size = geometry.x_size[number];
    axis.y_size = geometry.y_size[number];
    if (!geometry.transposed) {
        axis.count = axis.y_size, axis.taps = kernel;
        axis.first = -padding, axis.step = stride, axis.dilation = dilation;
        axis.y_first = 0, axis.y_step = 1, axis.tap_first = 0, axis.tap_step = 1;
        return axis;
    }
    int every = 1, tap = 0;  // these taps reach the phase: tap, tap + every, ...
    while (every * dilation % stride) ++every;
    while (tap < every && (phase + padding - tap * dilation) % stride) ++tap;
    axis.taps = tap < every && tap < kernel ? (kernel - tap + every - 1) / every : 0;
    axis.count = (axis.y_size - phase + stride - 1) / stride;
    axis.step = 1, axis.dilation = every * dilation / stride;
    axis.first = axis.taps ? (phase + padding - tap * dilation) / stride - (axis.taps - 1) * axis.dilation : 0;
    axis.y_first = phase, axis.y_step = stride;
    axis.tap_first = tap + (axis.taps - 1) * every, axis.tap_step = -every;
    return axis;
}

DEVICE Windows windows_of(const Geometry& geometry, int phase) {
    Windows windows;
    windows.axis[2] = axis_of(geometry, 2, phase % geometry.phases[2]);
    windows.axis[1] = axis_of(geometry, 1, phase / geometry.phases[2] % geometry.phases[1]);
    windows.axis[0] = axis_of(geometry, 0, phase / (geometry.phases[2] * geometry.phases[1]));
    windows.taps = windows.image_pixels = windows.x_plane = windows.y_plane = 1;
    for (const Axis& axis : windows.axis) {
        windows.taps *= axis.taps, windows.image_pixels *= axis.count;
        windows.x_plane *= axis.size, windows.y_plane *= axis.y_size;
    }
    windows.rows = geometry.channels * windows.taps;
    windows.pixels = geometry.images * windows.image_pixels;
    return windows;
}

// A place along three axes, from a number that counts them in C order.
struct Place {
    int at[3];
};
template <class T> DEVICE Place place_of(T number, const int (&size)[3]) {
    const T row = number / size[2];
    return {{static_cast<int>(row / size[1]), static_cast<int>(row % size[1]), static_cast<int>(number % size[2])}};
}
// Goes to the place whose number is larger by that of `on`, without a division; 1 where that begins anew.
DEVICE int advance(Place& place, const Place& on, const int (&size)[3]) {
    int carry = 0;
#pragma unroll
    for (int axis = 2; axis >= 0; --axis) {
        place.at[axis] += on.at[axis] + carry;
        carry = place.at[axis] >= size[axis];
        if (carry) place.at[axis] -= size[axis];
    }
    return carry;
}

// ---------------------------------------------------------------------- which elements meet

// Whether a tap of a pixel lies inside x is found with bits instead of comparisons: a pixel has one bit for each tap of
// each axis that lies inside, a tap the bits that it needs; NEVER is needed by what must read as zero, and no pixel has
// it. EXISTS is had by every pixel, and needed by every tap.
constexpr unsigned EXISTS = 1u << 31, NEVER = 1u << 30;
constexpr int MOST_BITS = 30, MOST_TAPS = 256;  // what taps of the axes together, and of a kernel, are at most

DEVICE bool meet(unsigned bits, unsigned needed) { return (bits & needed) == needed; }

// Of a tap: how far it is from the first element of its window, and the bits it needs.
DEVICE int2 find_tap(const Windows& windows, int tap) {
    const Axis *depth = windows.axis, *height = depth + 1, *width = depth + 2;
    const int column = tap % width->taps, row = tap / width->taps % height->taps;
    const int slice = tap / (width->taps * height->taps);
    const int offset = (slice * depth->dilation * height->size + row * height->dilation) * width->size;
    const unsigned in_image = 1u << (depth->taps + row) | 1u << (depth->taps + height->taps + column);
    return make_int2(offset + column * width->dilation, static_cast<int>(EXISTS | 1u << slice | in_image));
}

struct Pixel {
    int x, y;        // offsets in the arrays of where its window begins in x (perhaps outside), and of itself
    unsigned bits;   // 0 beyond the last pixel
};
DEVICE Pixel pixel_at(const Geometry& geometry, const Windows& windows, int image, const Place& place) {
    Pixel found{image * geometry.groups * geometry.channels, image * geometry.groups * geometry.outputs, EXISTS};
    int shift = 0;
#pragma unroll
    for (int number = 0; number < 3; ++number) {
        const Axis& axis = windows.axis[number];
        const int first = axis.first + axis.step * place.at[number];
        found.x = found.x * axis.size + first;
        found.y = found.y * axis.y_size + axis.y_first + axis.y_step * place.at[number];
        for (int tap = 0; tap < axis.taps; ++tap) {
            const int at = first + tap * axis.dilation;
            if (at >= 0 && at < axis.size) found.bits |= 1u << (shift + tap);
        }
        shift += axis.taps;
    }
    return found;
}
DEVICE Pixel find_pixel(const Geometry& geometry, const Windows& windows, int pixel) {
    if (pixel >= windows.pixels) return Pixel{0, 0, 0};
    const int counts[3] = {windows.axis[0].count, windows.axis[1].count, windows.axis[2].count};
    const Place place = place_of(pixel % windows.image_pixels, counts);
    return pixel_at(geometry, windows, pixel / windows.image_pixels, place);
}

template <class T> DEVICE bool is_finite(T value) { return value - value == 0; }

// ---------------------------------------------------------------------- tiles in shared memory

constexpr int DEPTH = 32;  // the part of a sum that one stage of the pipeline holds

// Begins a thread's copies of what COUNT rows of windows, every STEP-th of `rows`, see at a pixel, or at COPY that
// follow each other. Several rows are looked up before their copies begin: one by one, each waits for shared memory.
template <int COUNT, int COPY, int STEP, class Target>
DEVICE void gather(const float* x, const Pixel& pixel, const int2* rows, Target target) {
    constexpr int TOGETHER = COUNT < 8 ? COUNT : 8;
#pragma unroll
    for (int first = 0; first < COUNT; first += TOGETHER) {
        int2 found[TOGETHER];
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i) found[i] = rows[(first + i) * STEP];
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i) {
            const bool valid = meet(pixel.bits, static_cast<unsigned>(found[i].y));
            if (COPY == 4) copy_async_16(target(first + i), x + (pixel.x + found[i].x), valid);
            else copy_async_4(target(first + i), x + (pixel.x + found[i].x), valid);
        }
    }
}

// A tile whose rows of DEPTH elements run along the sum: rows of 128 bytes, the pieces of 16 bytes of row r in the
// order piece ^ (r % 8), so that the 8 rows a warp reads at once lie in different banks.
DEVICE int swizzled(int row, int element) { return row * 128 + ((element / 4 ^ row % 8) << 4) + element % 4 * 4; }

// Step number `step` (of 8 elements) of rows [row, row + 16) as the first operand of mma_tf32.
DEVICE void load_rows(unsigned (&fragment)[4], SharedAddress tile, int row, int step, int lane) {
    load_matrices(fragment, tile + swizzled(row + lane % 16, 8 * step + lane / 16 * 4));
}

// The same of rows [row, row + 16) as two fragments of the second operand. Each fragment's registers follow each other,
// as an mma needs them: else they would be moved for every product.
DEVICE void load_columns(unsigned (&left)[2], unsigned (&right)[2], SharedAddress tile, int row, int step, int lane) {
    unsigned both[4];
    load_matrices(both, tile + swizzled(row + lane % 8 + lane / 16 * 8, 8 * step + lane / 8 % 2 * 4));
    left[0] = both[0], left[1] = both[1], right[0] = both[2], right[1] = both[3];
}

// sums += a b, in one product of tf32 or in three, which are as exact as float32. Products that follow each other go
// to different sums, for an mma waits for the one whose sum it continues.
template <int PRODUCTS, int ROWS, int COLUMNS>
DEVICE void multiply(float (&sums)[ROWS][COLUMNS][4], const unsigned (&a)[ROWS][4], const unsigned (&b)[COLUMNS][2]) {
    unsigned a_big[ROWS][4], a_small[ROWS][4];
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) split_tf32(__uint_as_float(a[i][e]), a_big[i][e], a_small[i][e]);
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j) {
        unsigned b_big[2], b_small[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) split_tf32(__uint_as_float(b[j][e]), b_big[e], b_small[e]);
        if (PRODUCTS == 3) {
#pragma unroll
            for (int i = 0; i < ROWS; ++i) mma_tf32(sums[i][j], a_small[i], b_big);
#pragma unroll
            for (int i = 0; i < ROWS; ++i) mma_tf32(sums[i][j], a_big[i], b_small);
        }
#pragma unroll
        for (int i = 0; i < ROWS; ++i) mma_tf32(sums[i][j], a_big[i], b_big);
    }
}

template <int ROWS, int COLUMNS> DEVICE void clear(float (&sums)[ROWS][COLUMNS][4]) {
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) sums[i][j][e] = 0;
}
template <int ROWS, int COLUMNS>
DEVICE void add(float (&sums)[ROWS][COLUMNS][4], const float (&of_stage)[ROWS][COLUMNS][4]) {
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) sums[i][j][e] += of_stage[i][j][e];
}
