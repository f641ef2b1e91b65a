// Softmax cross-entropy over the rows of (rows, classes). A block has `lanes` rows, a power of two, and several threads
// for each: threads of a row are `lanes` apart.
//
// A label that is no class makes its loss NaN and its gradient 0, and is told.

#include "common.cuh"

constexpr Index BAD_LABEL = 1;

template <class A> struct Largest {
    A value;
    __device__ void merge(const Largest& other) { value = larger(value, other.value); }
};

// A thread's row, its first column, and how many columns further the next one is.
struct Row {
    Index row, first, step;
    bool there;

    __device__ Row(Index rows, Index lanes)
        : row(blockIdx.x * lanes + threadIdx.x % lanes), first(threadIdx.x / lanes), step(THREADS / lanes),
          there(row < rows) {}
};

template <class T, class Label>
__global__ void __launch_bounds__(THREADS)
cross_entropy(const T* logits, const Label* labels, T* losses, T* probabilities, Index* report, Index* fine,
              Index rows, Index classes, Index lanes) {
    typedef Wide<T> A;
    Row at(rows, lanes);
    const T* x = logits + at.row * classes;
    T* p = probabilities + at.row * classes;
    Index end = at.there ? classes : 0;
    Largest<A> mine = {at.there ? widen(x[0]) : A(0)};
    for (Index j = at.first; j < end; j += at.step) mine.merge({widen(x[j])});
    A most = merged(mine, lanes).value;
    Sum<A> part = {0};
    for (Index j = at.first; j < end; j += at.step) part.total += exponential(widen(x[j]) - most);
    A total = merged(part, lanes).total;
    for (Index j = at.first; j < end; j += at.step) narrow(exponential(widen(x[j]) - most) / total, p[j]);
    if (!at.there || at.first) return;
    Index label = Index(labels[at.row]);
    bool known = label >= 0 && label < classes;
    narrow(known ? logarithm(total) - (widen(x[label]) - most) : not_a_number<A>(), losses[at.row]);
    if (!known) tell(report, fine, BAD_LABEL, label, classes);
}

// The sum of n numbers, times a weight: by one block.
template <class T> __global__ void __launch_bounds__(THREADS) weighted_sum(const T* x, T* y, Index n, double weight) {
    Sum<Wide<T>> part = {0};
    for (Index i = threadIdx.x; i < n; i += THREADS) part.total += widen(x[i]);
    Wide<T> total = merged(part, 1).total;
    if (threadIdx.x == 0) narrow(total * Wide<T>(weight), *y);
}

// (p - onehot(label)) * gy * weight, where gy has a number for each row, or one for all if `each` is 0.
template <class T, class Label>
__global__ void __launch_bounds__(THREADS)
cross_entropy_gradient(const T* probabilities, const Label* labels, const T* gy, T* g, Index rows, Index classes,
                       Index lanes, Index each, double weight) {
    typedef Wide<T> A;
    Row at(rows, lanes);
    if (!at.there) return;
    Index label = Index(labels[at.row]);
    bool known = label >= 0 && label < classes;
    A scale = known ? rounded<T>(widen(gy[at.row * each]) * A(weight)) : A(0);
    for (Index j = at.first; j < classes; j += at.step) {
        A p = widen(probabilities[at.row * classes + j]);
        narrow(j == label ? p * scale - scale : p * scale, g[at.row * classes + j]);
    }
}
