// Recurrent scans in one launch: a block for every ROWS sequences. recurrent_block.cuh says how.
#include "recurrent_block.cuh"

template <int KIND, bool RESIDENT>
__global__ void __launch_bounds__(512, 1)
scan_block(const float* projected, const float* weights, const float* bias_n, const float* h0, float* h, float* c,
           float* outputs, float* gates, float* cells, const long long* lengths, Sizes sizes) {
    scan_in_blocks<KIND, RESIDENT, 1>(projected, weights, bias_n, h0, h, c, outputs, gates, cells, lengths,
                                      sizes);
}

template <int KIND, bool RESIDENT>
__global__ void __launch_bounds__(512, 1)
scan_grad_block(const float* g_outputs, const float* weights, const float* gates, const float* states,
                const float* initial, float* g_h, float* g_c, float* g_projected, float* g_hidden,
                const long long* lengths, Sizes sizes) {
    scan_grad_in_blocks<KIND, RESIDENT, 1>(g_outputs, weights, gates, states, initial, g_h, g_c, g_projected, g_hidden,
                                           lengths, sizes);
}
