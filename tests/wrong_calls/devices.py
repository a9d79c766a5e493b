"""Wrong calls across devices, and of devices there are not. tests/test_bad_input_on_cuda.py runs them."""

from __future__ import annotations

from tests.wrong_calls.errors import D, G, I, S, V

# Runs before every row: what lies on the GPU, and a network of which only the second layer was moved there.
GIVEN = """
cuda_x, cuda_labels, cuda_steps = (t.to('cuda') for t in (x, labels, steps))
cuda_w = x.to('cuda').requires_grad_()
half = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
half[1].to('cuda')
"""

AREAS: dict[str, list[tuple]] = {
    "operands": [
        ("x + cuda_x", V,
         "add: operands are on different devices (a [2, 3] float32, b [2, 3] float32 on cuda); move one with "
         ".to('cpu') or .to('cuda')"),
        ("cuda_x @ tn.ones((3, 4))", V, "matmul: operands are on different devices (a [2, 3] float32 on cuda, b"),
        ("tn.rnn(cuda_steps, None, weights)", V, "rnn_scan: operands are on different devices (x [5, 2, 3] float32"),
        ("x @ cuda_x.T", V, "matmul: operands are on different devices (a [2, 3] float32, b [3, 2] float32 on cuda)"),
        ("tn.concat([x, cuda_x])", V, "concat: operands are on different devices (arrays [[2, 3] float32, [2, 3] floa"),
        ("tn.where(x > 0, cuda_x, cuda_x)", V, "where: operands are on different devices (condition [2, 3] bool, a"),
        ("cuda_x + [1.0, 2.0, 3.0]", V, "add: operands are on different devices (a [2, 3] float32 on cuda, b [3] floa"),
        ("tn.conv2d(images, kernels.to('cuda'))", V, "conv2d: operands are on different devices (x [1, 2, 5, 5]"),
        ("tn.layer_norm(cuda_x, 3, v)", V, "layer_norm: operands are on different devices (x [2, 3] float32 on cuda"),
        ("attend(q.to('cuda'), q, q)", V, "scaled_dot_product_attention: operands are on different devices (q [1, 2,"),
        ("tn.layer_norm(x, 3, cuda_x[0])", V, "layer_norm: operands are on different devices (x [2, 3] float32, weig"),
        ("attend(q, q.to('cuda'), q)", V, "scaled_dot_product_attention: operands are on different devices (q [1, 2,"),
        ("tn.rnn_scan(steps, tn.zeros((2, 4)).to('cuda'), *weights[0])", V,
         "rnn_scan: operands are on different devices (x [5, 2, 3] float32, h0 [2, 4] float32 on cuda, weight_ih"),
        ("tn.mse_loss(cuda_x, x)", V, "mse_loss: subtract: operands are on different devices (a [2, 3] float32 on cud"),
        ("tn.batch_norm(cuda_x, v, v, training=True)", V,
         "batch_norm: running_mean is on cpu, the Tensor on cuda; move it with .to('cuda')"),
    ],
    "labels and indices": [
        ("tn.cross_entropy(x, cuda_labels)", V, "cross_entropy: operands are on different devices (input [2, 3] float"),
        ("tn.cross_entropy(cuda_x, [0, 3])", I, "cross_entropy: target has label 3, expected 0 to 2 (3 classes)"),
        ("tn.embedding(cuda_labels, x)", V, "embedding: operands are on different devices (indices [2] int64 on cuda,"),
        ("tn.embedding([0, 2], cuda_x)", I, "embedding: index 2 is out of range for the number of rows = 2"),
        ("x[cuda_labels]", V, "getitem: operands are on different devices (a [2, 3] float32, index [2] int64 on cuda)"),
        ("cuda_x[cuda_labels + 1]", I, "getitem: index 2 is out of bounds for axis 0 with size 2"),
        ("cuda_x[..., [[0], [-4]]]", I, "getitem: index -4 is out of bounds for axis 1 with size 3"),
        ("cuda_x[labels * 2] = 0.0", I, "setitem: index 2 is out of bounds for axis 0 with size 2"),
        ("tn.take_along_axis(cuda_x, [[3]], 1)", I, "take_along_axis: index 3 is out of bounds for axis 1 with size 3"),
        ("tn.take(cuda_x, [-7])", I, "take: index -7 is out of range for the size of axis 0 = 6"),
        ("tn.scatter_add(cuda_x, [0, 4], (4, 3))", I, "scatter_add: index 4 is out of bounds for axis 0 with size 4"),
        ("tn.segment_sum(cuda_x, [0, 2], 2)", I, "segment_sum: index 2 is out of range for num_segments = 2"),
        ("tn.rnn(cuda_steps, None, cuda_weights, lengths=[6, 1])", S,
         "rnn: lengths are from 1 to 6, expected 0 to 5, the number of steps",
         "cuda_weights = [tuple(t.to('cuda') for t in weights[0])]"),
    ],
    "in place": [
        ("x += cuda_x", V, "add: operands are on different devices (a [2, 3] float32, b [2, 3] float32 on cuda)"),
        ("cuda_x -= x", V, "subtract: operands are on different devices (a [2, 3] float32 on cuda, b [2, 3] float32)"),
        ("x[0] = cuda_x[0]", V, "setitem: operands are on different devices (a [2, 3] float32, v [3] float32 on cuda"),
        ("cuda_x[0] = x[0]", V, "setitem: operands are on different devices (a [2, 3] float32 on cuda, v [3] float32,"),
    ],
    "gradients": [
        ("(cuda_w * 2).backward(x)", V, "backward: the gradient is on cpu, the Tensor on cuda; move it with .to('cuda"),
        ("tn.grad(w * 2, w, cuda_x)", V, "grad: the gradient is on cuda, the Tensor on cpu; move it with .to('cpu')"),
        ("tn.jvp(lambda t: t * 2, [cuda_x], [x])", V, "jvp: the direction is on cpu, the Tensor on cuda"),
        ("tn.hvp(lambda t: (t * t).sum(), x, cuda_x)", V, "hvp: the direction is on cuda, the Tensor on cpu"),
        ("cuda_w.sum().backward()", V,
         "backward: grad is on cpu, the Tensor on cuda; set it to None", "cuda_w.grad = x"),
        ("y.backward()", V,
         "register_hook: the gradient is on cpu, the Tensor on cuda; move it with .to('cuda')",
         "h = cuda_w * 2\ny = h.sum()\nh.register_hook(lambda g: x)"),
        ("y.backward()", V,
         "backward: the gradient is on cpu, the Tensor on cuda; it was moved after it was used; move a network",
         "y = linear(x).sum()\nlinear.to('cuda')"),
    ],
    "networks and optimisers": [
        ("half(x)", V, "linear: operands are on different devices (x [2, 2] float32, weight [2, 2] float32 on cuda"),
        ("half(cuda_x)", V, "linear: operands are on different devices (x [2, 3] float32 on cuda, weight [2, 3] float"),
        ("nn.BatchNorm1d(3)(cuda_x)", V, "batch_norm: running_mean is on cpu, the Tensor on cuda; move it"),
        ("optim.SGD([w, cuda_w], 0.1).step()", V,
         "SGD.step: parameter 0 is on cpu, parameter 1 on cuda; move the network with .to(device), or give each device",
         "w.grad, cuda_w.grad = x, cuda_x"),
        ("optim.Adam([cuda_w, w], 0.1).step()", V,
         "Adam.step: parameter 0 is on cuda, parameter 1 on cpu", "w.grad, cuda_w.grad = x, cuda_x"),
        ("optim.AdamW([cuda_w], 0.1).step()", G,
         "AdamW.step: the gradient of parameter 0 is [2, 3] float32, expected a Tensor of its shape [2, 3] and dtype "
         "float32 on cuda", "cuda_w.grad = x"),
        ("optim.clip_grad_norm_([w, cuda_w], 1.0)", V,
         "clip_grad_norm_: gradients are on cpu and cuda; clip those of each device by themselves",
         "w.grad, cuda_w.grad = x, cuda_x"),
        ("optim.clip_grad_value_([w, cuda_w], 1.0)", V,
         "clip_grad_value_: gradients are on cpu and cuda; clip those of each device by themselves",
         "w.grad, cuda_w.grad = x, cuda_x"),
    ],
    "names of devices": [
        ("x.to('cuda:7')", D, "to: 'cuda:7' is no device ('cpu' or 'cuda'), and as a dtype: dtype is 'cuda:7'"),
        ("x.to('gpu')", D, "to: 'gpu' is no device ('cpu' or 'cuda'), and as a dtype: dtype is 'gpu', expected one of"),
        ("x.to('CUDA')", D, "to: 'CUDA' is no device ('cpu' or 'cuda'), and as a dtype: dtype is 'CUDA', expected one"),
        ("linear.to('cuda:0')", D, "to: ('cuda:0',) holds what is no device ('cpu' or 'cuda'); as a dtype: dtype is '"),
        ("tn.zeros(2, device='gpu')", V, "zeros: device 'gpu' does not exist, expected 'cpu' or 'cuda'"),
        ("tn.ones(2, device='CUDA')", V, "ones: device 'CUDA' does not exist, expected 'cpu' or 'cuda'"),
        ("tn.tensor([1.0], device='cuda:7')", V,
         "tensor: device 'cuda:7' does not exist, expected 'cpu' or 'cuda'; of several GPUs CUDA_VISIBLE_DEVICES choo"),
    ],
}  # fmt: skip

# Defined, although it looks wrong: labels and indices go where the operand is, a state to where its owner is.
DEFINED = [
    ("tn.cross_entropy(cuda_x, labels).device", "'cuda'"),
    ("tn.embedding(labels, cuda_x).device", "'cuda'"),
    ("tn.gather(cuda_x, 1, [[0], [2]]).device", "'cuda'"),
    ("cuda_x[labels].device, cuda_x[[True, False]].device", "('cuda', 'cuda')"),
    ("linear.load_state_dict(half[1].state_dict(), strict=False), linear.weight.device",
     "(IncompatibleKeys(missing_keys=[], unexpected_keys=[]), 'cpu')", "linear = nn.Linear(2, 2)"),
    ("half[1].load_state_dict(nn.Linear(2, 2).state_dict()), half[1].weight.device",
     "(IncompatibleKeys(missing_keys=[], unexpected_keys=[]), 'cuda')"),
    ("ours.load_state_dict(theirs.state_dict()), ours.state_dict()['state'][0]['exp_avg'].device", "(None, 'cpu')",
     "cuda_w.grad = cuda_x\nours, theirs = optim.Adam([w]), optim.Adam([cuda_w])\ntheirs.step()"),
    ("w.to('cuda').sum().backward(), w.grad.device", "(None, 'cpu')"),
    ("optim.SGD([{'params': [w]}, {'params': [cuda_w]}], 1.0).step(), w.device, cuda_w.device", "(None, 'cpu', 'cuda')",
     "w.grad, cuda_w.grad = x, cuda_x"),
]  # fmt: skip
