// Activations and their gradients, and what is added to each row of a product.

#include "common.cuh"

template <class T, int V, class Activation>
__global__ void __launch_bounds__(THREADS) activation(const T* x, T* y, Index n) {
    each<V>(n, [&](Index i, Index left) {
        Pack<T, V> pack = Pack<T, V>::load(x + i, left);
#pragma unroll
        for (int v = 0; v < V; v++) pack.set(v, Activation::value(pack.get(v)));
        pack.store(y + i, left);
    });
}

template <class T, int V, class Activation>
__global__ void __launch_bounds__(THREADS) activation_gradient(const T* y, const T* gy, T* gx, Index n) {
    each<V>(n, [&](Index i, Index left) {
        Pack<T, V> pack = Pack<T, V>::load(y + i, left), g = Pack<T, V>::load(gy + i, left);
#pragma unroll
        for (int v = 0; v < V; v++) pack.set(v, Activation::gradient(pack.get(v), g.get(v)));
        pack.store(gx + i, left);
    });
}

// y += bias over rows of `width` numbers; blockIdx = (columns, rows), and `lanes` threads side by side.
template <class T, int V>
__global__ void __launch_bounds__(THREADS) add_bias(T* y, const T* bias, Index rows, Index width, Index lanes) {
    Index column = (blockIdx.x * lanes + threadIdx.x % lanes) * V;
    if (column >= width) return;
    Pack<T, V> added = Pack<T, V>::load(bias + column);
    Index together = THREADS / lanes;
    for (Index row = blockIdx.y * together + threadIdx.x / lanes; row < rows; row += gridDim.y * together) {
        T* at = y + row * width + column;
        Pack<T, V> pack = Pack<T, V>::load(at);
#pragma unroll
        for (int v = 0; v < V; v++) pack.set(v, rounded<T>(pack.get(v) + added.get(v)));
        pack.store(at);
    }
}
