"""The recurrences written by hand in NumPy with care, a file for each cell:

    forward(x, *states, Wx, Wh, b) → hs (T+1, N, H), whose first is the initial state, and the arrays for backward
    backward(dh, hs, kept, x, Wx, Wh) → dx, the gradient of each state, dWx, dWh, db

One product for all inputs before the loop, `out=` where possible, σ computed by tanh, the derivatives of all steps at
once, and one product for each weight gradient after the loop.
"""
