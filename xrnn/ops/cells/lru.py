"""The linear recurrent unit: complex states, and no recurrent product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.typing import Array, HostArray

# With exp(ν) ≥ 1e-6, |λ| is at most 1 - 1e-6. In float32, its products with the cosine and the sine of the phase are
# off by less than 2e-7, so |λ| stays below 1. With exp(ν) = 148, |λ| is 4e-65.
LEAST_NU: Final = math.log(1e-6)
MOST_NU: Final = 5.0


class LRUCell(Cell):
    """s' = λ · s + exp(γ) · z,   λ = exp(-exp(ν) + i · exp(θ))   (Orvieto et al., 2023).

    s and z are complex, with the real parts in the first H of 2H columns. A ν beyond a bound counts as the bound; its
    gradient is then 0 unless a step of gradient descent would lead back to the bound.

    r_min, r_max  the initial |λ|² are uniform between r_min² and r_max²
    max_phase     the initial phases of λ are uniform between 0 and max_phase
    """

    name = "lru"
    kernel_name = "lru"
    components = 2
    keeps_z = False
    from_h = ()
    params = ("nu", "theta", "gamma")  # (H,) each, for H complex units

    def __init__(self, r_min: float = 0.0, r_max: float = 1.0, max_phase: float = 2 * math.pi) -> None:
        self.r_min, self.r_max, self.max_phase = r_min, r_max, max_phase

    def initial_input(self, rng: np.random.Generator, D: int, width: int) -> HostArray:
        """Complex normal numbers of variance 1/D: then s has about the variance of x   (Orvieto et al., 2023)."""
        return rng.standard_normal((D, width)) / math.sqrt(2 * max(D, 1))

    def initial_params(self, rng: np.random.Generator, width: int) -> Sequence[HostArray]:
        """λ on a ring, and γ = log √(1 - |λ|²), so that s has about the variance of z."""
        uniform, phase = 1 - rng.uniform(size=(2, width // 2))  # above 0
        square = self.r_min**2 + uniform * (self.r_max**2 - self.r_min**2)
        nu = np.log(np.clip(-np.log(square) / 2, math.exp(LEAST_NU), math.exp(MOST_NU)))
        return nu, np.log(phase * self.max_phase), np.log(-np.expm1(-2 * np.exp(nu))) / 2

    def coefficients(self, xp: Any, params: Sequence[Array]) -> tuple[Any, ...]:
        """The real and the imaginary part of λ, and exp(γ)."""
        nu, theta, gamma = params
        r, phase = xp.exp(-xp.exp(_bounded(xp, nu))), xp.exp(theta)
        return r * xp.cos(phase), r * xp.sin(phase), xp.exp(gamma)

    def params_gradient(
        self, xp: Any, params: Sequence[Array], coefficients: Sequence[Any], dparams: Sequence[Array]
    ) -> None:
        """dν = -exp(ν) · Re(λ̄ dλ),  dθ = exp(θ) · Im(λ̄ dλ). dγ is complete: `gradient` sums it in place of dexp(γ)."""
        (nu, theta, _), (re, im, _), (dnu, dtheta, _) = params, coefficients, dparams
        dre, dim = dnu.copy(), dtheta.copy()
        bounded = _bounded(xp, nu)
        dnu[...] = (re * dre + im * dim) * -xp.exp(bounded)
        dnu *= (nu - bounded) * dnu >= 0
        dtheta[...] = (re * dim - im * dre) * xp.exp(theta)

    def step(self, run: Run, at: StepArrays) -> None:
        re, im, gain = run.params
        (z_re, z_im), (s_re, s_im), (next_re, next_im) = (_parts(a) for a in (at.z[0], at.before[0], at.after[0]))
        next_re[...] = re * s_re - im * s_im + gain * z_re
        next_im[...] = re * s_im + im * s_re + gain * z_im

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dz = exp(γ) · ds';  ds = λ̄ · ds';  dλ = Σ s̄ · ds';  dγ = Σ Re(s̄' · ds') - Re(s̄ · ds).

        dγ = Σ Re(exp(γ) · z̄ · ds'), and exp(γ) · z = s' - λ · s: z need not be kept.
        """
        (re, im, gain), (dre, dim, dgamma) = run.params, run.dparams
        (next_re, next_im), (s_re, s_im), (d_re, d_im) = (_parts(a) for a in (at.after[0], at.before[0], dafter[0]))
        for out, d in zip(_parts(dz[0]), (d_re, d_im), strict=True):
            out[...] = gain * d
        before_re, before_im = _parts(dbefore[0])
        before_re[...] = re * d_re + im * d_im
        before_im[...] = re * d_im - im * d_re
        dre += (s_re * d_re + s_im * d_im).sum(axis=0)
        dim += (s_re * d_im - s_im * d_re).sum(axis=0)
        dgamma += (next_re * d_re + next_im * d_im - (s_re * before_re + s_im * before_im)).sum(axis=0)


def _bounded(xp: Any, nu: Array) -> Any:
    return xp.minimum(xp.maximum(nu, LEAST_NU), MOST_NU)  # in a third of the time of xp.clip


def _parts(s: Array) -> tuple[Array, Array]:
    """The real and the imaginary parts of complex numbers (N, 2H)."""
    H = s.shape[1] // 2
    return s[:, :H], s[:, H:]
