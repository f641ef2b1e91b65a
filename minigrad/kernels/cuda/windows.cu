// Windows over images: the patches that a convolution multiplies, and pools.
//
// Images are (batch, channels, rows, columns), and what is read may lie in memory in any way; what is written lies
// without gaps, channels last. A thread takes V channels of a window or a pixel at a time, and its neighbour the next
// ones. Each number is written by one thread, which adds up all that belongs to it, always in the same order. Positions
// and offsets are of type I: int, where all of them fit, which takes half the instructions. Pools are bound to one block
// at least: without that, the compiler spills registers to make room for more.

#include "common.cuh"

// An axis of the images: `size` pixels, over which a window moves to so many places.
struct Axis {
    Index size, windows, kernel, stride, padding, dilation;
};

struct Shape {
    Index batch, channels, groups;
    Axis rows, columns;
};

// How far apart the numbers of an array are along each axis.
struct Strides {
    Index image, channel, row, column;
};

template <class I> __device__ inline I offset(const Strides& strides, I image, I channel, I row, I column) {
    return image * I(strides.image) + channel * I(strides.channel) + row * I(strides.row) + column * I(strides.column);
}

// The pixel that a place of a window is over; around the image it is none.
template <class I> __device__ inline I pixel(const Axis& axis, I window, I place) {
    return window * I(axis.stride) + place * I(axis.dilation) - I(axis.padding);
}
template <class I> __device__ inline bool has(const Axis& axis, I pixel) { return pixel >= 0 && pixel < I(axis.size); }

// The other way round: where the window stands whose first place is over a pixel, then its second, and so on.
template <class I> struct Standing {
    const Axis& axis;
    I window, rest;

    __device__ Standing(const Axis& a, I pixel)
        : axis(a), window((pixel + I(a.padding)) / I(a.stride)), rest((pixel + I(a.padding)) % I(a.stride)) {}

    __device__ bool stands() const { return rest == 0 && window >= 0 && window < I(axis.windows); }

    __device__ void next_place() {
        window -= I(axis.dilation) / I(axis.stride);
        rest -= I(axis.dilation) % I(axis.stride);
        if (rest < 0) {
            rest += I(axis.stride);
            window -= 1;
        }
    }
};

// The way of one of many threads through a box, whose last side is passed fastest: it divides only at the start.
template <class I, int D> struct Walk {
    I sides[D], at[D], step[D], position, threads;

    __device__ Walk(const I (&box)[D], I thread, I count) : position(thread), threads(count) {
        I left = thread, jump = count;
#pragma unroll
        for (int d = D - 1; d >= 0; d--) {
            sides[d] = box[d];
            at[d] = d ? left % box[d] : left;
            step[d] = d ? jump % box[d] : jump;
            left /= box[d];
            jump /= box[d];
        }
    }
    __device__ explicit Walk(const I (&box)[D])
        : Walk(box, I(blockIdx.x) * THREADS + I(threadIdx.x), I(gridDim.x) * THREADS) {}

    __device__ bool inside() const { return at[0] < sides[0]; }

    __device__ void advance() {
        position += threads;
#pragma unroll
        for (int d = D - 1; d >= 0; d--) {
            at[d] += step[d];
            if (d && at[d] >= sides[d]) {
                at[d] -= sides[d];
                at[d - 1] += 1;
            }
        }
    }
};

// y[group, image, i, j, u, v, channel] is what place (u, v) of the window at (i, j) is over, and 0 around the image.
template <class T, int V, class I>
__global__ void __launch_bounds__(THREADS) patches(const T* x, T* y, Strides from, Shape shape) {
    const Axis &rows = shape.rows, &columns = shape.columns;
    I channels = I(shape.channels) / I(shape.groups);
    Walk<I, 7> way({I(shape.groups), I(shape.batch), I(rows.windows), I(columns.windows), I(rows.kernel),
                    I(columns.kernel), channels / V});
    for (; way.inside(); way.advance()) {
        I row = pixel(rows, way.at[2], way.at[4]), column = pixel(columns, way.at[3], way.at[5]);
        Pack<T, V> found = {};
        if (has(rows, row) && has(columns, column))
            found = Pack<T, V>::load(x + offset(from, way.at[1], way.at[0] * channels + way.at[6] * V, row, column));
        found.store(y + way.position * V);
    }
}

// The way through all windows, and that through all pixels.
template <int V, class I> __device__ inline Walk<I, 4> all_windows(const Shape& shape) {
    return Walk<I, 4>({I(shape.batch), I(shape.rows.windows), I(shape.columns.windows), I(shape.channels) / V});
}
template <int V, class I> __device__ inline Walk<I, 4> all_pixels(const Shape& shape) {
    return Walk<I, 4>({I(shape.batch), I(shape.rows.size), I(shape.columns.size), I(shape.channels) / V});
}

// see(place, V numbers) for each place of a window that is over the image.
template <class T, int V, class I, class F>
__device__ inline void look(const T* x, const Strides& from, const Shape& shape, const Walk<I, 4>& way, F see) {
    I place = 0;
    for (I u = 0; u < I(shape.rows.kernel); u++)
        for (I v = 0; v < I(shape.columns.kernel); v++, place++) {
            I row = pixel(shape.rows, way.at[1], u), column = pixel(shape.columns, way.at[2], v);
            if (has(shape.rows, row) && has(shape.columns, column))
                see(place, Pack<T, V>::load(x + offset(from, way.at[0], way.at[3] * V, row, column)));
        }
}

// The largest value of each window, and the first place that it has. A NaN is larger than all numbers.
template <class T, int V, class I>
__global__ void __launch_bounds__(THREADS, 1) max_pool(const T* x, T* y, short* places, Strides from, Shape shape) {
    for (Walk<I, 4> way = all_windows<V, I>(shape); way.inside(); way.advance()) {
        Pack<T, V> most;
        Pack<short, V> where;
        bool any = false;
#pragma unroll
        for (int k = 0; k < V; k++) {
            most.set(k, -__uint_as_float(0x7f800000u));
            where.values[k] = 0;
        }
        look<T, V>(x, from, shape, way, [&](I place, const Pack<T, V>& seen) {
#pragma unroll
            for (int k = 0; k < V; k++) {
                Wide<T> value = seen.get(k), before = most.get(k);
                if (any && (value <= before || is_nan(before))) continue;
                most.values[k] = seen.values[k];
                where.values[k] = short(place);
            }
            any = true;
        });
        most.store(y + way.position * V);
        where.store(places + way.position * V);
    }
}

template <class T, int V> __device__ inline void store(const Wide<T> (&totals)[V], T* to) {
    Pack<T, V> found;
#pragma unroll
    for (int k = 0; k < V; k++) found.set(k, totals[k]);
    found.store(to);
}

template <class T, int V, class I>
__global__ void __launch_bounds__(THREADS, 1) sum_pool(const T* x, T* y, Strides from, Shape shape) {
    for (Walk<I, 4> way = all_windows<V, I>(shape); way.inside(); way.advance()) {
        Wide<T> totals[V] = {};
        look<T, V>(x, from, shape, way, [&](I, const Pack<T, V>& seen) {
#pragma unroll
            for (int k = 0; k < V; k++) totals[k] += seen.get(k);
        });
        store<T, V>(totals, y + way.position * V);
    }
}

// see(place, i, j) for each window (i, j) that has a place over a pixel.
template <class I, class F> __device__ inline void look_back(const Shape& shape, const Walk<I, 4>& way, F see) {
    Standing<I> i(shape.rows, way.at[1]);
    const Standing<I> first(shape.columns, way.at[2]);
    I place = 0;
    for (I u = 0; u < I(shape.rows.kernel); u++, i.next_place()) {
        Standing<I> j = first;
        for (I v = 0; v < I(shape.columns.kernel); v++, j.next_place(), place++)
            if (i.stands() && j.stands()) see(place, i.window, j.window);
    }
}

template <class T, int V, class I>
__global__ void __launch_bounds__(THREADS, 1)
max_pool_grad(const T* gy, const short* places, T* gx, Strides from, Strides places_from, Shape shape) {
    for (Walk<I, 4> way = all_pixels<V, I>(shape); way.inside(); way.advance()) {
        Wide<T> totals[V] = {};
        I image = way.at[0], channel = way.at[3] * V;
        look_back(shape, way, [&](I place, I i, I j) {
            auto where = Pack<short, V>::load(places + offset(places_from, image, channel, i, j));
            auto g = Pack<T, V>::load(gy + offset(from, image, channel, i, j));
#pragma unroll
            for (int k = 0; k < V; k++)
                if (where.values[k] == place) totals[k] += g.get(k);
        });
        store<T, V>(totals, gx + way.position * V);
    }
}

template <class T, int V, class I>
__global__ void __launch_bounds__(THREADS, 1) sum_pool_grad(const T* gy, T* gx, Strides from, Shape shape) {
    for (Walk<I, 4> way = all_pixels<V, I>(shape); way.inside(); way.advance()) {
        Wide<T> totals[V] = {};
        look_back(shape, way, [&](I, I i, I j) {
            auto g = Pack<T, V>::load(gy + offset(from, way.at[0], way.at[3] * V, i, j));
#pragma unroll
            for (int k = 0; k < V; k++) totals[k] += g.get(k);
        });
        store<T, V>(totals, gx + way.position * V);
    }
}

// The number at a place of each window, 0 around the image.
template <class T, int V, class I>
__global__ void __launch_bounds__(THREADS)
pick(const T* x, const short* places, T* y, Strides from, Strides places_from, Shape shape) {
    for (Walk<I, 4> way = all_windows<V, I>(shape); way.inside(); way.advance()) {
        I image = way.at[0], channel = way.at[3] * V;
        auto where = Pack<short, V>::load(places + offset(places_from, image, channel, way.at[1], way.at[2]));
        Pack<T, V> found = {};
#pragma unroll
        for (int k = 0; k < V; k++) {
            I u = where.values[k] / I(shape.columns.kernel), v = where.values[k] % I(shape.columns.kernel);
            I row = pixel(shape.rows, way.at[1], u), column = pixel(shape.columns, way.at[2], v);
            if (has(shape.rows, row) && has(shape.columns, column))
                found.values[k] = x[offset(from, image, channel + k, row, column)];
        }
        found.store(y + way.position * V);
    }
}
