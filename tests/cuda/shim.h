// CUDA C++ on a CPU, for tests: the kernels' own sources, with each block's threads in turns.
//
// Every thread is a fiber with a stack of its own. A barrier or shuffle hands over to the next one; when all have come to
// it, they go on. Blocks run one after the other, and each finds NaN in its shared memory. The order of the threads can be
// changed: results that depend on it show a missing barrier. Threads that wait for each other at different barriers are
// reported.

#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <link.h>
#include <type_traits>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static thread_local  // so that all of it lies in one piece
#define __restrict__
#define __grid_constant__
#define __launch_bounds__(...)

struct dim3 { unsigned x, y, z; };

namespace shim {

constexpr int MOST = 1024, WARP = 32;
constexpr size_t STACK = 1 << 16;

struct Fiber {
    ucontext_t context;
    jmp_buf state;
    bool started = false, done = true;
    int waits = 0;  // for nothing, its block, or its warp
    char* stack = nullptr;
};

inline Fiber fibers[MOST];
inline jmp_buf scheduler;
inline ucontext_t origin;
inline int current, count;
inline void (*body)();
inline const char* fault = nullptr;
inline double exchange[MOST];
inline dim3 grid, block, index, thread;

inline thread_local char shared;  // which is there as soon as somebody looks at it

// NaN for what is shared, in the library whose it is.
inline int spoil(dl_phdr_info* info, size_t, void* within) {
    char* begin = static_cast<char*>(info->dlpi_tls_data);
    for (int i = 0; begin && i < info->dlpi_phnum; i++) {
        size_t size = info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_TLS || within < begin || within >= begin + size) continue;
        std::memset(begin, 0xff, size);
        return 1;
    }
    return 0;
}

inline void loop() {
    for (;;) {
        body();
        fibers[current].done = true;
        if (!_setjmp(fibers[current].state)) _longjmp(scheduler, 1);
    }
}

inline void go_on(int i) {
    Fiber& f = fibers[i];
    current = i;
    thread = {unsigned(i), 0, 0};
    if (_setjmp(scheduler)) return;
    if (f.started) _longjmp(f.state, 1);
    f.started = true;
    f.stack = static_cast<char*>(std::malloc(STACK));
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack;
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = &origin;
    makecontext(&f.context, loop, 0);
    setcontext(&f.context);
}

inline void wait(int kind) {
    fibers[current].waits = kind;
    if (!_setjmp(fibers[current].state)) _longjmp(scheduler, 1);
    thread = {unsigned(current), 0, 0};
}

// All threads of a block, each until its next barrier, in the order first + k * step (mod count), until all are done.
inline void run_block(int first, int step) {
    for (int i = 0; i < count; i++) fibers[i].done = false, fibers[i].waits = 0;
    asm volatile("" : : "r"(&shared) : "memory");
    dl_iterate_phdr(spoil, &shared);
    for (bool left = true; left;) {
        bool moved = false;
        left = false;
        for (int k = 0; k < count; k++) {
            int i = int((first + (long long)k * step) % count);
            if (fibers[i].done || fibers[i].waits) continue;
            go_on(i);
            moved = true;
        }
        for (int w = 0; w < count; w += WARP) {  // shuffles: all of a warp that still run
            int last = w + WARP < count ? w + WARP : count, at = 0, alive = 0;
            for (int i = w; i < last; i++) at += !fibers[i].done && fibers[i].waits == 2, alive += !fibers[i].done;
            if (!at || at < alive) continue;
            for (int i = w; i < last; i++) fibers[i].waits = 0;
            moved = true;
        }
        int at = 0, alive = 0;
        for (int i = 0; i < count; i++) at += !fibers[i].done && fibers[i].waits == 1, alive += !fibers[i].done;
        if (at && at == alive) {
            for (int i = 0; i < count; i++) fibers[i].waits = 0;
            moved = true;
        }
        left = alive > 0;
        if (left && !moved) {
            fault = "threads of a block wait at different barriers";
            for (int i = 0; i < count; i++) fibers[i].started = false;  // their stacks are lost
            return;
        }
    }
}

template <class T> T shuffle(T x, int from) {
    static_assert(sizeof(T) <= sizeof(double));
    std::memcpy(&exchange[thread.x], &x, sizeof(T));
    wait(2);
    T y;
    int lane = thread.x / WARP * WARP + from;
    std::memcpy(&y, &exchange[lane < count ? lane : int(thread.x)], sizeof(T));
    wait(2);
    return y;
}

}  // namespace shim

#define gridDim shim::grid
#define blockDim shim::block
#define blockIdx shim::index
#define threadIdx shim::thread

inline void __threadfence_system() {}
inline void __syncthreads() { shim::wait(1); }
template <class T> T __shfl_xor_sync(unsigned, T x, int mask) { return shim::shuffle(x, (threadIdx.x % 32) ^ mask); }
template <class T> T __shfl_sync(unsigned, T x, int from) { return shim::shuffle(x, from); }

template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }

inline unsigned __float_as_uint(float x) { unsigned u; std::memcpy(&u, &x, 4); return u; }
inline float __uint_as_float(unsigned u) { float x; std::memcpy(&x, &u, 4); return x; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
template <class A> void put(A* to, A x) { *to = x; }

inline float half_to_float(unsigned short h) {
    int exponent = (h >> 10) & 31, fraction = h & 1023;
    float x = exponent == 31 ? (fraction ? NAN : INFINITY)
            : exponent ? std::ldexp(float(fraction + 1024), exponent - 25) : std::ldexp(float(fraction), -24);
    return h & 0x8000 ? -x : x;
}

inline unsigned short float_to_half(float x) {
    unsigned short sign = std::signbit(x) ? 0x8000 : 0;
    float a = std::fabs(x);
    if (std::isnan(x)) return sign | 0x7e00;
    if (a == 0) return sign;
    if (a >= 65520.0f) return sign | 0x7c00;
    int exponent;
    std::frexp(a, &exponent);  // a = f 2^exponent, 0.5 <= f < 1
    int ulp = exponent - 11 < -24 ? -24 : exponent - 11;
    long units = std::lrint(std::ldexp(a, -ulp));  // to the nearest, ties to even
    return sign | (unsigned short)(ulp == -24 ? units : ((ulp + 25 - 1) << 10) + units);
}

// --- launching ---

template <class T> T read(const void* from) {
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
}

template <class... A, size_t... I>
void run_grid(void (*kernel)(A...), void** given, int first, int step, std::index_sequence<I...>) {
    static void (*function)(A...);
    static void** arguments;
    function = kernel;
    arguments = given;
    shim::body = [] { function(read<std::remove_const_t<A>>(arguments[I])...); };
    for (unsigned z = 0; z < gridDim.z; z++)
        for (unsigned y = 0; y < gridDim.y; y++)
            for (unsigned x = 0; x < gridDim.x; x++) {
                shim::index = {x, y, z};
                shim::run_block(first, step);
                if (shim::fault) return;
            }
}

template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* grid, unsigned threads, void** arguments, int given, int first,
                   int step) {
    if (given != int(sizeof...(A))) return "takes another number of arguments";
    shim::fault = nullptr;
    shim::grid = {grid[0], grid[1], grid[2]};
    shim::block = {threads, 1, 1};
    shim::count = int(threads);
    run_grid(kernel, arguments, first, step, std::index_sequence_for<A...>{});
    return shim::fault;
}
