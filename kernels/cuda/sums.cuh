// Two sums in float64 at once, over a warp or a block: half the barriers of two single sums.
// What includes it includes prims.cuh before it.
#pragma once

DEVICE void warp_sums(double& a, double& b) {
    a = warp_sum(a);
    b = warp_sum(b);
}

// Over a block of whole warps along x, in every thread; every thread of the block must call it.
DEVICE void block_sums(double& a, double& b) {
    __shared__ double of_warps[2][32];
    warp_sums(a, b);
    __syncthreads();  // what an earlier call left there has been read
    if (threadIdx.x % 32 == 0) {
        of_warps[0][threadIdx.x / 32] = a;
        of_warps[1][threadIdx.x / 32] = b;
    }
    __syncthreads();
    a = of_warps[0][0];
    b = of_warps[1][0];
    for (int warp = 1; warp < static_cast<int>(blockDim.x) / 32; ++warp) {
        a += of_warps[0][warp];
        b += of_warps[1][warp];
    }
}
