"""The recurrences as one writes them by hand in NumPy with care, a file a cell:

    forward(x, *states, Wx, Wh, b) -> hs (T+1, N, H), which begin with the initial state, and what backward needs
    backward(dh, hs, kept, x, Wx, Wh) -> dx, the gradient of each state, dWx, dWh, db

The input's projection in one product before the loop, `out=` wherever there is one, σ by tanh, the derivatives of all
steps at once, the weight gradients in one product each after the loop.
"""
