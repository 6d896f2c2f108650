"""The minimal gated unit (Zhou et al., 2016): its gate multiplies h before the product with Wh."""

import numpy as np
from xrnn import (
    Adam,
    Cell,
    Linear,
    Recurrent,
    asarray,
    check_cell,
    load,
    mean_squared_error,
    save,
    sigmoid,
)


class MGU(Cell):
    """h' = h + f · (n - h), with the gate f and the candidate n:

    f = σ(x @ Wx_f + h @ Wh_f + b_f);  n = tanh(x @ Wx_n + (f · h) @ Wh_n + b_n)
    """

    pre = 2  # blocks of z: f and n. Wx is (D, 2H), Wh (H, 2H), b (2H,)
    recurs = True  # the three methods `recur…` compute the recurrent term

    def step(self, run, at):
        (f, n), (h,), (h_next,) = at.z, at.before, at.after  # `recur` has been called
        run.xp.tanh(n, out=n)
        h_next[...] = h + f * (n - h)

    def gradient(self, run, at, dafter, dz, dbefore):
        (f, n), (h,), (dh,) = at.z, at.before, dafter
        # the gradient of f; `recur_gradient` makes the gradient of z_f from it
        dz[0] = dh * (n - h)
        dz[1] = dh * f * (1 - n * n)
        dbefore[0][...] = dh * (1 - f)  # h' = h + …, without the paths through f and n

    def recur(self, run, at):
        """z_f += h @ Wh_f;  z_n += (f · h) @ Wh_n.   run.W: Wh (H, 2H)"""
        f, n = at.z
        (h,) = at.before
        H = len(run.W)
        f += h @ run.W[:, :H]
        sigmoid(run.xp, f)
        n += (f * h) @ run.W[:, H:]

    def recur_gradient(self, run, at, dz, dh):
        """d(f · h) = dz_n @ Wh_nᵀ goes to f and to h.   run.W: Whᵀ (2H, H)"""
        f, _ = at.z
        (h,) = at.before
        H = dh.shape[1]
        dfh = dz[1] @ run.W[H:]
        dz[0] = (dz[0] + dfh * h) * f * (1 - f)
        dh += dfh * f + dz[0] @ run.W[:H]

    def recur_weights(self, xp, at, dz, dWh):
        """dWh = (hᵀ @ dz_f, (f · h)ᵀ @ dz_n), over all steps and rows.

        h (steps, N, H), dz (steps, 2, N, H)
        """
        h = at.before[0]
        f = at.z[:, 0]
        H = len(dWh)
        for block, left in enumerate((h, f * h)):
            rows = dz[:, block].reshape(-1, H)
            dWh[:, block * H : (block + 1) * H] = left.reshape(-1, H).T @ rows


if __name__ == "__main__":
    check_cell(MGU())  # compares the gradient with finite differences of the step
    rng = np.random.default_rng(0)
    layer, readout = Recurrent.init(MGU(), 1, 16, rng=1), Linear.init(16, 1, rng=2)
    optimizer = Adam([layer, readout], lr=0.01)
    for _ in range(200):  # learn to repeat the input two steps later
        x = rng.uniform(-1, 1, (20, 16, 1)).astype("float32")
        target = np.concatenate([np.zeros_like(x[:2]), x[:-2]])
        y = readout.forward(layer.forward(asarray(x)))
        loss, dy = mean_squared_error(y, asarray(target))
        layer.backward(readout.backward(dy), needs_dx=False)
        optimizer.step()
    print(f"loss {float(loss):.3f}")
    save("mgu.safetensors", layer)  # the weights, and the name of the cell
    # the code of the cell comes from you
    again = load("mgu.safetensors", cells={"MGU": MGU})
    assert (again(asarray(x)) == layer(asarray(x))).all()
