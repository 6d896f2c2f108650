/* A recurrent model, written by xrnn. C99; link with -lm.

   Call xrnn_init(&state) first, then xrnn_step(&state, x, y) for each step. x and y are different arrays. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "expected exact NaN and infinity: compile without -ffast-math, -Ofast and -ffinite-math-only"
#endif

/* y += x @ W,   x (rows,), y (columns,). Only the first `columns` of W's `stride` columns are used. */
static void xrnn_add(int rows, int columns, int stride, const float *W, const float *x, float *y) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) y[j] += x[i] * W[(size_t)i * (size_t)stride + (size_t)j];
}

/* q = round(127 x / max |x|). Returns the scale of x, max |x| / 127. If all |x| are below 1e-30, the scale is 0. If x
   has NaN or infinity, the scale is NaN. In both cases q stays as it was. */
static float xrnn_quantized(int n, const float *x, int8_t *q) {
    float largest = 0;
    int finite = 1;
    for (int i = 0; i < n; i++) {
        largest = fmaxf(largest, fabsf(x[i]));
        finite = finite && isfinite(x[i]);
    }
    if (!finite || largest < 1e-30f) return finite ? 0 : NAN;
    const float factor = 127 / largest;
    for (int i = 0; i < n; i++) q[i] = (int8_t)rintf(x[i] * factor);
    return largest / 127;
}

/* y[j] += x_scale scale[j] sum_i q[i] W[j, i],   q = x rounded to int8 (rows,), W (columns, rows), y (columns,).
   The integer sums are exact. */
static void xrnn_add_int8(int rows, int columns, const int8_t *W, const float *scale, const float *x, int8_t *q,
                       float *y) {
    const float x_scale = xrnn_quantized(rows, x, q);
    for (int j = 0; j < columns; j++) {
        int32_t sum = 0;
        for (int i = 0; i < rows; i++) sum += q[i] * W[(size_t)j * (size_t)rows + (size_t)i];
        y[j] += (float)sum * (x_scale * scale[j]);
    }
}

static float xrnn_sigmoid(float z) { return 0.5f + 0.5f * tanhf(0.5f * z); }

/* v; with `positive` v + 1/2 for v >= 0, otherwise sigmoid(v) */
static float xrnn_candidate(int positive, float v) { return positive ? (v < 0 ? xrnn_sigmoid(v) : v + 0.5f) : v; }

/* reset = sigmoid(z_r) h */
static void xrnn_reset(int H, const float *z, const float *h, float *reset) {
    for (int j = 0; j < H; j++) reset[j] = xrnn_sigmoid(z[j]) * h[j];
}

/* y = gamma (x - mean) / sqrt(variance + eps) + beta */
static void xrnn_normalized(int D, float eps, const float *gamma, const float *beta, const float *x, float *y) {
    float mean = 0, variance = 0;
    for (int i = 0; i < D; i++) mean += x[i] / (float)D;
    for (int i = 0; i < D; i++) variance += (x[i] - mean) * (x[i] - mean) / (float)D;
    for (int i = 0; i < D; i++) y[i] = gamma[i] * (x[i] - mean) / sqrtf(variance + eps) + beta[i];
}

/* y = (x - mean) / deviation, limited to 1e6; for a missing value y stays as it was, at first 0, the mean. */
static void xrnn_scaled(int D, const double *mean, const double *deviation, const float *x, float *y) {
    for (int i = 0; i < D; i++)
        if (!isnan(x[i])) y[i] = (float)fmin(fmax(((double)x[i] - mean[i]) / deviation[i], -1e6), 1e6);
}

/* mean = the mean of h over all steps so far. The sum needs double: after 10^7 steps, float would drop most of each h. */
static void xrnn_average(int H, double steps, const float *h, double *total, float *mean) {
    for (int j = 0; j < H; j++) {
        total[j] += (double)h[j];
        mean[j] = (float)(total[j] / steps);
    }
}

static void xrnn_softmax(int C, float *y) {
    float largest = y[0], sum = 0;
    for (int i = 1; i < C; i++) largest = fmaxf(largest, y[i]);
    for (int i = 0; i < C; i++) sum += y[i] = expf(y[i] - largest);
    for (int i = 0; i < C; i++) y[i] /= sum;
}

/* h = (1 - leak) h + leak f(z),   f = 0: tanh, 1: relu, 2: softplus; without a leak h = f(z) */
static void xrnn_rnn(int H, const float *leak, int f, const float *z, float *h) {
    for (int j = 0; j < H; j++) {
        const float positive = z[j] < 0 ? 0 : z[j];
        const float y = f == 0 ? tanhf(z[j]) : f == 1 ? positive : positive + log1pf(expf(-fabsf(z[j])));
        h[j] = leak ? (1 - leak[j]) * h[j] + leak[j] * y : y;
    }
}

/* i, f, g, o = z;  c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c) */
static void xrnn_lstm(int H, const float *z, float *h, float *c) {
    for (int j = 0; j < H; j++) {
        c[j] = xrnn_sigmoid(z[H + j]) * c[j] + xrnn_sigmoid(z[j]) * tanhf(z[2 * H + j]);
        h[j] = xrnn_sigmoid(z[3 * H + j]) * tanhf(c[j]);
    }
}

/* n_x, r, u, m = z;  m = h @ Wh_n + b_hn;  n = tanh(n_x + sigmoid(r) m);  h = n + sigmoid(u) (h - n) */
static void xrnn_gru(int H, const float *z, float *h) {
    for (int j = 0; j < H; j++) {
        const float n = tanhf(z[j] + xrnn_sigmoid(z[H + j]) * z[3 * H + j]);
        h[j] = n + xrnn_sigmoid(z[2 * H + j]) * (h[j] - n);
    }
}

/* r, u, n = z, with (sigmoid(r) h) @ Wh_n in n;  h = tanh(n) + sigmoid(u) (h - tanh(n)) */
static void xrnn_gru_reset_before(int H, const float *z, float *h) {
    for (int j = 0; j < H; j++) {
        const float n = tanhf(z[2 * H + j]);
        h[j] = n + xrnn_sigmoid(z[H + j]) * (h[j] - n);
    }
}

/* u, v = z;  h = h + sigmoid(u) (candidate(v) - h) */
static void xrnn_min_gru(int H, int positive, const float *z, float *h) {
    for (int j = 0; j < H; j++) h[j] += xrnn_sigmoid(z[j]) * (xrnn_candidate(positive, z[H + j]) - h[j]);
}

/* f, i, v = z;  h = h + w (candidate(v) - h),   w = sigmoid(i) / (sigmoid(f) + sigmoid(i)).
   e : a : b = 1 : exp(-f) : exp(-i), and the largest of them is 1. f and i stay finite: the difference of two
   infinities would be NaN. */
static void xrnn_min_lstm(int H, int positive, const float *z, float *h) {
    for (int j = 0; j < H; j++) {
        const float f = z[j] < -1e30f ? -1e30f : z[j], i = z[H + j] < -1e30f ? -1e30f : z[H + j];
        const float least = fminf(fminf(f, i), 0), e = expf(least), a = expf(least - f), b = expf(least - i);
        h[j] += (e + a) / (2 * e + a + b) * (xrnn_candidate(positive, z[2 * H + j]) - h[j]);
    }
}

/* i, f, g, o = z;  m = max(log f + m, i);  c = f' c + i' tanh(g);  n = f' n + i';  h = sigmoid(o) c / n
   i' = exp(i - m);  f' = exp(log f + m_prev - m);  log f = f, or log(sigmoid(f)) without `exponential`.
   n = 0 before the first step: then m = i. */
static void xrnn_slstm(int H, int exponential, const float *z, float *h, float *c, float *n, float *m) {
    for (int j = 0; j < H; j++) {
        const float f = z[H + j], log_f = exponential ? f : fminf(f, 0) - log1pf(expf(-fabsf(f)));
        const float past = log_f + m[j];
        m[j] = n[j] == 0 || !(z[j] < past) ? z[j] : past;
        const float scaled_i = expf(z[j] - m[j]), scaled_f = n[j] == 0 ? 0 : expf(past - m[j]);
        c[j] = scaled_f * c[j] + scaled_i * tanhf(z[2 * H + j]);
        n[j] = scaled_f * n[j] + scaled_i;
        h[j] = xrnn_sigmoid(z[3 * H + j]) * c[j] / n[j];
    }
}

/* h = lambda h + gain z, complex: the first half of the H numbers are real parts */
static void xrnn_lru(int H, const float *re, const float *im, const float *gain, const float *z, float *h) {
    for (int j = 0, k = H / 2; k < H; j++, k++) {
        const float real = h[j];
        h[j] = re[j] * real - im[j] * h[k] + gain[j] * z[j];
        h[k] = re[j] * h[k] + im[j] * real + gain[j] * z[k];
    }
}
