// What training moves in place: running statistics, and all parameters of an optimizer in one launch. Parameters stay
// where they are while the host has not been told of an error in the values.

#include "common.cuh"

struct Flag {
    int up;
    __device__ void merge(const Flag& other) { up |= other.up; }
};

// running = (1 - new) running + new batch, by one block; nothing moves unless all variances are finite. `momentum` is
// negative for a cumulative average.
template <class A>
__global__ void __launch_bounds__(THREADS)
move_statistics(A* running_mean, A* running_var, Index* batches, const A* mean, const A* var, double momentum,
                double correction, Index debiased, Index* report, Index* fine, Index channels) {
    Flag bad = {0};
    for (Index c = threadIdx.x; c < channels; c += THREADS) bad.up |= !is_finite(var[c]);
    if (merged(bad, 1).up) {
        if (report && threadIdx.x == 0) tell(report, fine, NOT_FINITE, 0, channels);
        return;
    }
    double count = double(*batches + 1), fresh = 1 - momentum;
    if (momentum < 0) fresh = 1 / count;
    else if (debiased) fresh /= 1 - pow(momentum, count);
    __syncthreads();  // all have read the count
    if (threadIdx.x == 0) *batches += 1;
    A old = A(1 - fresh), by = A(fresh), by_var = A(fresh * correction);
    for (Index c = threadIdx.x; c < channels; c += THREADS) {
        running_mean[c] = running_mean[c] * old + by * mean[c];
        running_var[c] = running_var[c] * old + by_var * var[c];
    }
}

// Up to TENSORS parameters with their state and gradients, in one launch, as many as fit into 4 KB of arguments: tensor
// t has blocks first_block[t] ... of BLOCK numbers each, and is row rows[t] of what there is per parameter.
constexpr int TENSORS = 80;
constexpr Index BLOCK = 4096;

struct Tensors {
    void* parameters[TENSORS];
    void* state[2][TENSORS];
    const void* gradients[TENSORS];
    Index sizes[TENSORS];
    int rows[TENSORS];
    int first_block[TENSORS + 1];
    int count;
};

// The tensor that this block works on, and the part of it.
struct Work {
    int tensor;
    Index begin, end;

    __device__ explicit Work(const Tensors& all) {
        int low = 0, high = all.count;
        while (high - low > 1) {
            int middle = (low + high) / 2;
            if (all.first_block[middle] <= int(blockIdx.x)) low = middle;
            else high = middle;
        }
        tensor = low;
        begin = (Index(blockIdx.x) - all.first_block[low]) * BLOCK;
        end = min(begin + BLOCK, all.sizes[low]);
    }
};

// For each V numbers of the block's part, update(v, p, g, first, second) with what is moved by reference. The state of
// halves is float.
template <class T, int V, int STATES, class F>
__device__ inline void move(const Tensors& all, const Work& work, F update) {
    typedef Wide<T> A;
    T* p = static_cast<T*>(all.parameters[work.tensor]);
    A* s[2] = {static_cast<A*>(all.state[0][work.tensor]), static_cast<A*>(all.state[1][work.tensor])};
    const T* g = static_cast<const T*>(all.gradients[work.tensor]);
    for (Index i = work.begin + Index(threadIdx.x) * V; i < work.end; i += THREADS * V) {
        Index left = work.end - i;
        Pack<T, V> parameter = Pack<T, V>::load(p + i, left), gradient = Pack<T, V>::load(g + i, left);
        Pack<A, V> state[STATES ? STATES : 1];
#pragma unroll
        for (int k = 0; k < STATES; k++) state[k] = Pack<A, V>::load(s[k] + i, left);
#pragma unroll
        for (int v = 0; v < V; v++) {
            A moved[3] = {parameter.get(v)};
#pragma unroll
            for (int k = 0; k < STATES; k++) moved[1 + k] = state[k].get(v);
            update(moved, gradient.get(v));
            parameter.set(v, moved[0]);
#pragma unroll
            for (int k = 0; k < STATES; k++) state[k].set(v, moved[1 + k]);
        }
        parameter.store(p + i, left);
#pragma unroll
        for (int k = 0; k < STATES; k++) state[k].store(s[k] + i, left);
    }
}

// STATES is 1 with momentum and 0 without.
template <class T, int V, int STATES>
__global__ void __launch_bounds__(THREADS)
sgd(const __grid_constant__ Tensors all, const Index* fine, double lr, double momentum, Index nesterov,
    double weight_decay) {
    typedef Wide<T> A;
    if (!*fine) return;
    A rate = A(lr), keep = A(momentum), decay = A(weight_decay);
    move<T, V, STATES>(all, Work(all), [&](A* moved, A g) {
        if (weight_decay != 0) g = g + decay * moved[0];
        if (STATES) {
            moved[1] = moved[1] * keep + g;
            g = nesterov ? g + keep * moved[1] : moved[1];
        }
        moved[0] -= g * rate;
    });
}

// steps says for the how many-th time each parameter is moved.
template <class T, int V>
__global__ void __launch_bounds__(THREADS)
adam(const __grid_constant__ Tensors all, const Index* fine, const Index* steps, double lr, double beta1, double beta2,
     double eps, double weight_decay) {
    typedef Wide<T> A;
    if (!*fine) return;
    __shared__ A corrections[2];
    Work work(all);
    if (threadIdx.x == 0) {
        double t = double(steps[all.rows[work.tensor]]);
        corrections[0] = A(lr / (1 - pow(beta1, t)));
        corrections[1] = A(sqrt(1 - pow(beta2, t)));
    }
    __syncthreads();
    A size = corrections[0], scale = corrections[1], decay = A(weight_decay), e = A(eps);
    A keep1 = A(beta1), keep2 = A(beta2), take1 = A(1 - beta1), take2 = A(1 - beta2);
    move<T, V, 2>(all, work, [&](A* moved, A g) {
        if (weight_decay != 0) g = g + decay * moved[0];
        moved[1] = moved[1] * keep1 + take1 * g;
        moved[2] = moved[2] * keep2 + take2 * (g * g);
        moved[0] -= size * moved[1] / (root(moved[2]) / scale + e);
    });
}
