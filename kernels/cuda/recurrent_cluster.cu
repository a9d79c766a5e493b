// Recurrent scans in one launch, from sm_90 on: a cluster of 8 blocks for every ROWS sequences. Each block holds the
// weights of its units in shared memory, for states of up to 256 units, and never reads them again.
#include "recurrent_block.cuh"

constexpr int CLUSTER = 8;

template <int KIND>
__global__ void CLUSTER_OF(CLUSTER) __launch_bounds__(512, 1)
scan_cluster(const float* projected, const float* weights, const float* bias_n, const float* h0, float* h, float* c,
             float* outputs, float* gates, float* cells, const long long* lengths, Sizes sizes) {
    scan_in_blocks<KIND, true, CLUSTER>(projected, weights, bias_n, h0, h, c, outputs, gates, cells, lengths,
                                        sizes);
}

template <int KIND>
__global__ void CLUSTER_OF(CLUSTER) __launch_bounds__(512, 1)
scan_grad_cluster(const float* g_outputs, const float* weights, const float* gates, const float* states,
                  const float* initial, float* g_h, float* g_c, float* g_projected, float* g_hidden,
                  const long long* lengths, Sizes sizes) {
    scan_grad_in_blocks<KIND, true, CLUSTER>(g_outputs, weights, gates, states, initial, g_h, g_c, g_projected,
                                             g_hidden, lengths, sizes);
}
