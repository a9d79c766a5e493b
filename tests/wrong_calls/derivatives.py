"""Wrong calls of derivatives."""

from __future__ import annotations

from tests.wrong_calls.errors import D, G, S, V

AREAS: dict[str, list[tuple]] = {
    "gradients": [
        ("x.backward()", G, "backward: this Tensor does not depend on anything that requires a gradient"),
        ("(w * 2).backward()", G,
         "backward: the Tensor has shape (2, 3); give the gradient of its elements, which only a single"),
        ("(w * 2).backward(v)", S, "backward: the gradient has shape (3,), the Tensor (2, 3)"),
        ("y.backward()", G,
         "backward: this graph was already used and freed (at sum); pass retain_graph=True to the first",
         "y = (w * 2).sum()\ny.backward()"),
        ("(w > 0).sum().backward()", G, "backward: this Tensor does not depend on anything that requires a gradient"),
        ("labels.requires_grad_()", G, "requires_grad_: only floating-point Tensors have gradients, this one is int64"),
        ("(w * 2).requires_grad_(False)", G, "requires_grad_: this Tensor was made by multiply; only leaves change"),
        ("tn.grad(w.sum(), x)", G,
         "grad: input 0 does not require a gradient; call requires_grad_() before it is used"),
        ("tn.grad(w.sum(), other)", G,
         "grad: no path leads from the outputs to input 0; pass allow_unused=True",
         "other = tn.ones(3, requires_grad=True)"),
        ("tn.grad([w.sum()], [w], [1.0, 2.0])", S, "grad: 2 gradients for 1 outputs"),
        ("tn.grad(5.0, w)", D, "grad: expected a Tensor, got float"),
        ("x.register_hook(print)", G, "register_hook: this Tensor does not require a gradient"),
        ("w.register_hook(5)", D, "register_hook: hook is 5, expected a function of the gradient"),
        ("u.sum().backward()", G,
         "register_hook: a hook on a value of leaf returned Tensor () float32, expected None or",
         "u = tn.ones(3, requires_grad=True)\nu.register_hook(lambda g: g.sum())"),
        ("u.sum().backward()", G,
         "backward: grad of a float32 Tensor of shape (3,) is 5.0; set it to None",
         "u = tn.ones(3, requires_grad=True)\nu.grad = 5.0"),
        ("tn.value_and_grad(lambda t: t.sum(), 3)(x)", S, "value_and_grad: argnums has 3, but there are 1 arguments"),
        ("tn.vjp(lambda t: (t, t), x)[1](x)", S, "vjp: 1 gradients for the 2 values of the function"),
        ("tn.jvp(lambda t: t * 2, [x], [v])", S, "jvp: tangent 0 has shape (3,), its primal (2, 3)"),
        ("tn.jvp(lambda t: t * 2, x, x)", D, "jvp: primals is [2, 3] float32, expected a list or tuple"),
        ("tn.hvp(lambda t: t.sum(), x, v)", S, "hvp: v has shape (3,), x (2, 3)"),
        ("tn.jacobian(lambda t: 5.0, x)", D, "jacobian: the function returned 5.0, expected one Tensor"),
        ("tn.checkpoint(lambda t: 5.0, w)", D, "checkpoint: the function returned something else than a Tensor"),
        ("tn.use_kernels('fast').__enter__()", V, "use_kernels: there is no backend 'fast', only "),
        ("y.backward()", G,
         "backward: this Tensor does not depend on anything that requires a gradient (was it computed under",
         "with tn.no_grad():\n    y = w.sum()"),
    ],
    "derivatives and gradients": [
        ("tn.backward(w)", G, "backward: the Tensor has shape (2, 3); give the gradient of its elements, which only a"),
        ("tn.backward('a')", D, "backward: expected a Tensor, got str"),
        ("tn.hessian(lambda t: t, x)", D, "hessian: the function returned [2, 3] float32, expected a Tensor of one el"),
        ("tn.hessian(lambda t: 5.0, x)", D, "hessian: the function returned 5.0, expected a Tensor of one element"),
        ("tn.watch(5)", D, "watch: watcher is 5, expected a function of the op, its operands and its value"),
        ("tn.watch(5).__enter__()", D, "watch: watcher is 5, expected a function of the op, its operands and its valu"),
    ],
}  # fmt: skip
