// Batch norm in two passes forward (statistics, normalize) and two back (gradient_sums, input_gradient); where a block
// has whole channels, normalize and input_gradient do both.
//
// An array is looked at as (groups, batch, channels, size), C-contiguous; each group and channel has statistics of its
// own. Blocks take a part of one group's values each: blockIdx = (channels, split, group). In `Planes` a block has one
// channel, whose values are runs of `size` numbers; in `Columns` size is 1 and a block has as many channels, next to
// each other, as `lanes` threads read at once. Both passes give a block the same values, which may still be in cache,
// and what the blocks of a channel found is merged by each block of the second pass, always in the same order.

#include "common.cuh"

struct Shape {
    Index batch, channels, size;
    int lanes, splits;
};

// Accesses of a thread that are under way at once. By Little's law, a Hopper's memory (4.8 TB/s, about 700 ns) is kept
// busy by 25 KB per multiprocessor; with one access each, as many threads as its registers have room for have 12 to 24.
constexpr int UNDER_WAY = 4;
// Blocks that a multiprocessor must have room for. (Left to itself the compiler aims at more, and spills registers.)
constexpr int RESIDENT = 2;

// The part of `count` things, in multiples of `unit`, that split `split` of `splits` has.
struct Part {
    Index begin, end;

    __device__ Part(Index count, Index unit, int split, int splits) {
        Index units = (count + unit - 1) / unit, each = (units + splits - 1) / splits;
        begin = min(split * each * unit, count);
        end = min(begin + each * unit, count);
    }
};

// How the threads of a block go through its values: a thread's accesses of V numbers are at `position`, counted over
// batch and size, at `step` further on, and so on up to `end`; next() is the offset of each in turn. Number v of an
// access belongs to channel(v).
template <int V> struct Planes {
    static constexpr int channels_per_access = 1;
    static constexpr Index step = THREADS * V;
    const Shape& shape;
    Index first, stride, position, end;
    Index i, j, step_i, step_j;  // position j of image i, and how far it is to the next one

    __device__ explicit Planes(const Shape& s)
        : shape(s), first(blockIdx.z * s.batch * s.channels * s.size + blockIdx.x * s.size),
          stride(s.channels * s.size) {
        Part part(s.batch * s.size, V, blockIdx.y, s.splits);
        position = part.begin + Index(threadIdx.x) * V;
        end = part.end;
        i = position / s.size;
        j = position % s.size;
        step_i = step / s.size;
        step_j = step % s.size;
    }
    __device__ Index channel(int) const { return blockIdx.z * shape.channels + blockIdx.x; }
    __device__ bool has(int) const { return true; }
    __device__ Index offset(Index at, int) const { return first + at / shape.size * stride + at % shape.size; }
    __device__ int lanes() const { return 1; }
    __device__ bool speaks(int) const { return threadIdx.x == 0; }
    __device__ double values() const { return double(shape.batch) * double(shape.size); }

    __device__ Index next() {
        Index here = first + i * stride + j;
        i += step_i;
        j += step_j;
        if (j >= shape.size) {
            j -= shape.size;
            i += 1;
        }
        return here;
    }
};

template <int V> struct Columns {
    static constexpr int channels_per_access = V;
    const Shape& shape;
    Index lane, first, position, end, step, here;

    __device__ explicit Columns(const Shape& s)
        : shape(s), lane((blockIdx.x * Index(s.lanes) + threadIdx.x % s.lanes) * V), step(THREADS / s.lanes) {
        Part part(s.batch, 1, blockIdx.y, s.splits);
        position = part.begin + threadIdx.x / s.lanes;
        end = has(0) ? part.end : position;
        first = blockIdx.z * s.batch * s.channels + lane;
        here = first + position * s.channels;
    }
    __device__ Index channel(int v) const { return blockIdx.z * shape.channels + lane + v; }
    __device__ bool has(int v) const { return lane + v < shape.channels; }
    __device__ Index offset(Index at, int v) const { return first + at * shape.channels + v; }
    __device__ int lanes() const { return shape.lanes; }
    __device__ bool speaks(int v) const { return int(threadIdx.x) < shape.lanes && has(v); }
    __device__ double values() const { return double(shape.batch); }

    __device__ Index next() {
        Index at = here;
        here += step * shape.channels;
        return at;
    }
};

// load(offset) for each of a thread's accesses, and use(what that gave, offset, position); MANY are loaded before the
// first of them is used.
template <int MANY, class Over, class Load, class Use> __device__ inline void visit(Over& over, Load load, Use use) {
    Index step = over.step, end = over.end;
#pragma unroll 1
    for (Index at = over.position; at < end; at += MANY * step) {
        decltype(load(at)) loaded[MANY];
        Index offsets[MANY];
#pragma unroll
        for (int n = 0; n < MANY; n++) {
            offsets[n] = over.next();
            if (at + n * step < end) loaded[n] = load(offsets[n]);
        }
#pragma unroll
        for (int n = 0; n < MANY; n++)
            if (at + n * step < end) use(loaded[n], offsets[n], at + n * step);
    }
}

// Count, mean and sum of squared deviations of some values (Chan, Golub & LeVeque 1979, eq. 2.1). Means are kept as
// distances from the channel's first value that counts, so that a large mean costs no digits.
template <class A> struct Moments {
    A count, mean, m2;

    __device__ void merge(const Moments& other) {
        if (other.count == 0) return;
        A total = count + other.count, share = other.count / total, delta = other.mean - mean;
        mean = multiply_add(delta, share, mean);
        m2 += multiply_add(delta * delta, count * share, other.m2);
        count = total;
    }
};

struct First {
    Index position;
    __device__ void merge(const First& other) { position = min(position, other.position); }
};

// The first of so many positions that has a weight; `positions` if none has.
template <class A> __device__ inline Index first_weighted(const A* weights, Index positions) {
    First mine = {positions};
    for (Index p = threadIdx.x; p < mine.position; p += THREADS)
        if (weights[p] != 0) mine.position = p;
    return merged(mine, 1).position;
}

// A thread's values: their sum and sum of squares from the first of them on. One of weight 0 is not looked at.
template <class A> struct Shifted {
    A shift = 0, count = 0, sum = 0, squares = 0;

    __device__ void add(A x, A weight) {
        if (weight == 0) return;
        if (count == 0) shift = x;
        A d = x - shift, weighted = weight * d;
        count += weight;
        sum += weighted;
        squares = multiply_add(weighted, d, squares);
    }
    __device__ Moments<A> moments(A near) const {
        if (count == 0) return {0, 0, 0};
        A mean = sum / count, m2 = multiply_add(-mean, sum, squares);
        return {count, (shift - near) + mean, m2 < 0 ? A(0) : m2};
    }
};

// What a split found of a channel, and what its means are distances from: four numbers.
template <class A> __device__ inline A* part_of(A* parts, Index channel, int split, const Shape& shape) {
    return parts + (channel * shape.splits + split) * 4;
}

// What a block finds of its channels, given to all threads that have them: moments, as distances from `near`. WEIGHTED
// is 1 where there are weights, one for each position, and 0 where each counts once.
template <int WEIGHTED, class T, int V, template <int> class Over>
__device__ inline void look(Over<V> over, const T* x, const Wide<T>* weights, Moments<Wide<T>>* all, Wide<T>* near) {
    typedef Wide<T> A;
    constexpr int K = Over<V>::channels_per_access;
    Shifted<A> found[K];
    auto load = [&](Index at) { return Pack<T, V>::load(x + at); };
    visit<UNDER_WAY>(over, load, [&](const Pack<T, V>& pack, Index, Index position) {
#pragma unroll
        for (int v = 0; v < V; v++) {
            A weight = WEIGHTED ? weights[position + (K == 1 ? v : 0)] : A(1);
            found[v % K].add(pack.get(v), weight);
        }
    });
    Index positions = over.shape.batch * over.shape.size, first = WEIGHTED ? first_weighted(weights, positions) : 0;
#pragma unroll
    for (int v = 0; v < K; v++) {
        near[v] = over.has(v) && first < positions ? widen(x[over.offset(first, v)]) : A(0);
        all[v] = merged(found[v].moments(near[v]), over.lanes());
    }
}

template <class T, int V, template <int> class Over, int WEIGHTED>
__global__ void __launch_bounds__(THREADS, RESIDENT)
statistics(const T* x, const Wide<T>* weights, Wide<T>* parts, Shape shape) {
    constexpr int K = Over<V>::channels_per_access;
    Over<V> over(shape);
    Moments<Wide<T>> all[K];
    Wide<T> near[K];
    look<WEIGHTED>(over, x, weights, all, near);
#pragma unroll
    for (int v = 0; v < K; v++)
        if (over.speaks(v)) {
            Wide<T>* part = part_of(parts, over.channel(v), blockIdx.y, shape);
            part[0] = all[v].count;
            part[1] = all[v].mean;
            part[2] = all[v].m2;
            part[3] = near[v];
        }
}

// Everything that the splits of a channel found, given to all threads that have the channel.
template <class S, class A, class Over>
__device__ inline S collected(const A* parts, const Over& over, int v, const Shape& shape) {
    S mine = {0, 0, 0};
#pragma unroll 1
    for (int split = threadIdx.x / over.lanes(); over.has(v) && split < shape.splits;
         split += THREADS / over.lanes()) {
        const A* part = part_of(parts, over.channel(v), split, shape);
        mine.merge(S{part[0], part[1], part[2]});
    }
    return merged(mine, over.lanes());
}

// y = (x - mean) gamma inv_std + beta, with var the sum of the squared deviations divided by `freedom`.
// Where there are no `parts`, mean and var are given, and nothing but y is written; where there is no y, only they are.
// WHOLE is 1 where a block has all values of its channels: it looks at them itself.
template <class T, int V, template <int> class Over, int WHOLE>
__global__ void __launch_bounds__(THREADS, RESIDENT)
normalize(const T* x, const Wide<T>* parts, const Wide<T>* gamma, const Wide<T>* beta, Wide<T>* mean, Wide<T>* var,
          Wide<T>* inv_std, T* y, double eps, double freedom, Shape shape) {
    typedef Wide<T> A;
    constexpr int K = Over<V>::channels_per_access;
    Over<V> over(shape);
    A near[K], rest[K], scale[K], shift[K];
    Moments<A> own[K];
    if (WHOLE) look<0>(over, x, static_cast<const A*>(nullptr), own, near);
#pragma unroll
    for (int v = 0; v < K; v++) {
        Index c = over.channel(v);
        bool has = over.has(v);
        A variance;
        if (WHOLE) {
            rest[v] = own[v].mean;
            variance = own[v].m2 / A(freedom);
        } else if (parts) {
            Moments<A> all = collected<Moments<A>>(parts, over, v, shape);
            near[v] = has ? part_of(parts, c, 0, shape)[3] : A(0);
            rest[v] = all.mean;
            variance = all.m2 / A(freedom);
        } else {
            near[v] = has ? mean[c] : A(0);
            rest[v] = 0;
            variance = has ? var[c] : A(1);
        }
        A inverse = A(1) / root(variance + A(eps));
        scale[v] = gamma && has ? inverse * gamma[c] : inverse;
        shift[v] = beta && has ? beta[c] : A(0);
        if ((WHOLE || parts) && blockIdx.y == 0 && over.speaks(v)) {
            mean[c] = near[v] + rest[v];
            var[c] = variance;
            if (inv_std) inv_std[c] = inverse;
        }
    }
    if (!y) return;
    auto load = [&](Index at) { return Pack<T, V>::load(x + at); };
    visit<UNDER_WAY>(over, load, [&](Pack<T, V>& pack, Index at, Index) {
#pragma unroll
        for (int v = 0; v < V; v++) {
            A d = (pack.get(v) - near[v % K]) - rest[v % K];
            pack.set(v, multiply_add(d, scale[v % K], shift[v % K]));
        }
        pack.store(y + at);
    });
}

// What the backward pass reads of x and of the output's gradient in one access each.
template <class T, int V> struct Both {
    Pack<T, V> x, gy;
};

// Sums over a channel of x - mean (which is 0 but for the rounding of mean), of gy, and of their product.
template <class A> struct GradientSums {
    A offset, gbeta, product;

    __device__ void merge(const GradientSums& other) {
        offset += other.offset;
        gbeta += other.gbeta;
        product += other.product;
    }
    __device__ void add(A d, A g) {
        offset += d;
        gbeta += g;
        product = multiply_add(d, g, product);
    }
};

// What a block finds of its channels, given to all threads that have them.
template <class T, int V, template <int> class Over>
__device__ inline void add_up(Over<V> over, const T* x, const Wide<T>* mean, const T* gy, GradientSums<Wide<T>>* all) {
    typedef Wide<T> A;
    constexpr int K = Over<V>::channels_per_access;
    A center[K];
#pragma unroll
    for (int v = 0; v < K; v++) {
        all[v] = {0, 0, 0};
        center[v] = over.has(v) ? mean[over.channel(v)] : A(0);
    }
    auto load = [&](Index at) { return Both<T, V>{Pack<T, V>::load(x + at), Pack<T, V>::load(gy + at)}; };
    visit<UNDER_WAY / 2>(over, load, [&](const Both<T, V>& both, Index, Index) {
#pragma unroll
        for (int v = 0; v < V; v++) all[v % K].add(both.x.get(v) - center[v % K], both.gy.get(v));
    });
#pragma unroll
    for (int v = 0; v < K; v++) all[v] = merged(all[v], over.lanes());
}

template <class T, int V, template <int> class Over>
__global__ void __launch_bounds__(THREADS, RESIDENT)
gradient_sums(const T* x, const Wide<T>* mean, const T* gy, Wide<T>* parts, Shape shape) {
    constexpr int K = Over<V>::channels_per_access;
    Over<V> over(shape);
    GradientSums<Wide<T>> all[K];
    add_up(over, x, mean, gy, all);
#pragma unroll
    for (int v = 0; v < K; v++)
        if (over.speaks(v)) {
            Wide<T>* part = part_of(parts, over.channel(v), blockIdx.y, shape);
            part[0] = all[v].offset;
            part[1] = all[v].gbeta;
            part[2] = all[v].product;
        }
}

// gx = gamma inv_std (gy - gbeta / m - xhat ggamma / (m - ddof)), with xhat = (x - mean - offset) inv_std.
template <class T, int V, template <int> class Over, int WHOLE>
__global__ void __launch_bounds__(THREADS, RESIDENT)
input_gradient(const T* x, const Wide<T>* parts, const Wide<T>* gamma, const Wide<T>* mean, const Wide<T>* inv_std,
               const T* gy, T* gx, Wide<T>* ggamma, Wide<T>* gbeta, double freedom, Shape shape) {
    typedef Wide<T> A;
    constexpr int K = Over<V>::channels_per_access;
    Over<V> over(shape);
    A center[K], slope[K], shift[K], scale[K];
    A m = A(over.values());
    GradientSums<A> own[K];
    if (WHOLE) add_up(over, x, mean, gy, own);
#pragma unroll
    for (int v = 0; v < K; v++) {
        Index c = over.channel(v);
        bool has = over.has(v);
        GradientSums<A> all = WHOLE ? own[v] : collected<GradientSums<A>>(parts, over, v, shape);
        A inverse = has ? inv_std[c] : A(0), offset = all.offset / m;
        A slopes = multiply_add(-offset, all.gbeta, all.product) * inverse;
        center[v] = has ? mean[c] : A(0);
        scale[v] = gamma && has ? inverse * gamma[c] : inverse;
        slope[v] = slopes * inverse / A(freedom);
        shift[v] = multiply_add(-offset, slope[v], all.gbeta / m);
        if (blockIdx.y == 0 && over.speaks(v)) {
            ggamma[c] = slopes;
            gbeta[c] = all.gbeta;
        }
    }
    auto load = [&](Index at) { return Both<T, V>{Pack<T, V>::load(x + at), Pack<T, V>::load(gy + at)}; };
    visit<UNDER_WAY / 2>(over, load, [&](Both<T, V>& both, Index at, Index) {
#pragma unroll
        for (int v = 0; v < V; v++) {
            A d = both.x.get(v) - center[v % K];
            both.x.set(v, (both.gy.get(v) - multiply_add(d, slope[v % K], shift[v % K])) * scale[v % K]);
        }
        both.x.store(gx + at);
    });
}
