// What all kernels here share: number types, 16-byte accesses, activations, and merging over the threads of a block.
//
// Blocks have THREADS threads in one row. Offsets are 64-bit: there is no limit on an array's size but memory. Products
// and sums are contracted only where it says fma, so that a fused kernel has the bits of the kernels it replaces.

typedef long long Index;

constexpr int THREADS = 256;

struct Half { unsigned short bits; };      // IEEE binary16
struct BFloat16 { unsigned short bits; };  // the upper half of a float

#ifdef __CUDACC__
__device__ inline float half_to_float(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

__device__ inline unsigned short float_to_half(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// *to = x in one access: the compiler stores the members of a struct one by one where it pleases.
template <class A> __device__ inline void put(A* to, A x) { *to = x; }
__device__ inline void put(uint2* to, uint2 x) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)), "r"(x.x), "r"(x.y) : "memory");
}
__device__ inline void put(uint4* to, uint4 x) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(x.x), "r"(x.y),
                 "r"(x.z), "r"(x.w)
                 : "memory");
}
#endif

// What values of type T are computed in: Wide<T>.
template <class T> struct WideOf { typedef float type; };
template <> struct WideOf<double> { typedef double type; };
template <class T> using Wide = typename WideOf<T>::type;

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(Half x) { return half_to_float(x.bits); }
__device__ inline float widen(BFloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

__device__ inline void narrow(float x, float& y) { y = x; }
__device__ inline void narrow(double x, double& y) { y = x; }
__device__ inline void narrow(float x, Half& y) { y.bits = float_to_half(x); }
__device__ inline void narrow(float x, BFloat16& y) {
    unsigned bits = __float_as_uint(x);
    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    // To the nearest, ties to even; a NaN stays one.
    y.bits = static_cast<unsigned short>(nan ? (bits >> 16) | 0x40u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// x rounded to T, and back.
template <class T> __device__ inline Wide<T> rounded(Wide<T> x) {
    T y;
    narrow(x, y);
    return widen(y);
}

// What moves so many bytes in one access; more than 16 take several.
template <int BYTES> struct AccessOf { typedef uint4 type; };
template <> struct AccessOf<8> { typedef uint2 type; };
template <> struct AccessOf<4> { typedef unsigned type; };
template <> struct AccessOf<2> { typedef unsigned short type; };

// V numbers that are read and written together.
template <class T, int V> struct alignas(V * sizeof(T)) Pack {
    typedef typename AccessOf<V * sizeof(T)>::type Access;
    static constexpr int ACCESSES = V * sizeof(T) / sizeof(Access);
    static_assert(ACCESSES * sizeof(Access) == V * sizeof(T), "no number of accesses moves so many bytes");

    union {
        T values[V];
        Access accesses[ACCESSES];
    };

    __device__ static Pack load(const T* from) {
        Pack pack;
#pragma unroll
        for (int i = 0; i < ACCESSES; i++) pack.accesses[i] = reinterpret_cast<const Access*>(from)[i];
        return pack;
    }
    __device__ void store(T* to) const {
#pragma unroll
        for (int i = 0; i < ACCESSES; i++) put(reinterpret_cast<Access*>(to) + i, accesses[i]);
    }

    // The same where there may be fewer than V.
    __device__ static Pack load(const T* from, Index there) {
        if (there >= V) return load(from);
        Pack pack = {};
#pragma unroll
        for (int i = 0; i < V; i++)
            if (i < there) pack.values[i] = from[i];
        return pack;
    }
    __device__ void store(T* to, Index there) const {
        if (there >= V) return store(to);
#pragma unroll
        for (int i = 0; i < V; i++)
            if (i < there) to[i] = values[i];
    }
    __device__ Wide<T> get(int i) const { return widen(values[i]); }
    __device__ void set(int i, Wide<T> x) { narrow(x, values[i]); }
};

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline float logarithm(float x) { return logf(x); }
__device__ inline double logarithm(double x) { return log(x); }
__device__ inline float root(float x) { return sqrtf(x); }
__device__ inline double root(double x) { return sqrt(x); }
__device__ inline float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double multiply_add(double a, double b, double c) { return fma(a, b, c); }
template <class A> __device__ inline bool is_nan(A x) { return x != x; }
template <class A> __device__ inline bool is_finite(A x) { return x - x == 0; }
template <class A> __device__ inline A not_a_number() { return A(__uint_as_float(0x7fc00000u)); }
// A NaN wins, as in NumPy's maximum.
template <class A> __device__ inline A larger(A a, A b) { return a > b || is_nan(a) ? a : b; }

enum Fault { BAD_LABEL = 1, NOT_FINITE = 2 };

// Tell the host what is wrong: `report` is memory that it reads; `fine`, on the device, is 0 until it has been told.
__device__ inline void tell(Index* report, Index* fine, Fault what, Index which, Index limit) {
    *fine = 0;
    report[1] = which;
    report[2] = limit;
    __threadfence_system();  // the host, which does not wait, sees these before it sees the next
    report[0] = what;
}

// Activations: what they make of x, and the gradient for x given their output y and its gradient.
struct Sigmoid {
    // e / (1 + e) is accurate where it is tiny, and 1 to the last bit from 40 on, so nothing overflows.
    template <class A> __device__ static A value(A x) {
        A e = exponential(x < A(40) || is_nan(x) ? x : A(40));
        return e / (e + A(1));
    }
    template <class A> __device__ static A gradient(A y, A gy) { return (y - y * y) * gy; }
};

struct Relu {
    template <class A> __device__ static A value(A x) { return larger(x, A(0)); }
    template <class A> __device__ static A gradient(A y, A gy) { return gy * A(!(y <= A(0))); }
};

// Merge what the threads of a block found, in a fixed order: threads whose numbers differ by multiples of `lanes`, a
// power of two. The first `lanes` threads hold the results, which all threads get.
template <class S> __device__ inline S merged(S mine, int lanes) {
    __shared__ S parts[THREADS];
    int thread = threadIdx.x;
    __syncthreads();  // of an earlier call, everybody has read the result
    parts[thread] = mine;
    for (int step = THREADS / 2; step >= lanes; step /= 2) {
        __syncthreads();
        if (thread < step) parts[thread].merge(parts[thread + step]);
    }
    __syncthreads();
    return parts[thread % lanes];
}

// For each V of n numbers, f(where they begin, how many are left): all threads of the grid in turns.
template <int V, class F> __device__ inline void each(Index n, F f) {
    Index step = Index(gridDim.x) * THREADS * V;
    for (Index i = (Index(blockIdx.x) * THREADS + threadIdx.x) * V; i < n; i += step) f(i, n - i);
}

// A sum that `merged` takes.
template <class A> struct Sum {
    A total;
    __device__ void merge(const Sum& other) { total += other.total; }
};
