// Dropout masks from Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3):
// number i of a mask is a function of the seed and i alone, whatever the grid, and the one that NumPy's Philox draws.

#include "common.cuh"

typedef unsigned long long Word;

// Where a seed comes from: it is given, or read when the kernel runs, as a graph that is replayed needs it.
__device__ inline Word seed_of(Index seed) { return static_cast<Word>(seed); }
__device__ inline Word seed_of(const Index* seed) { return static_cast<Word>(*seed); }

// Eight numbers of 32 bits.
struct Drawn {
    Word words[4];

    __device__ Drawn(Word seed, Word block) : words{block + 1, 0, 0, 0} {
        Word key0 = seed, key1 = 0;
        for (int round = 0; round < 10; round++) {
            Word high0 = __umul64hi(0xD2E7470EE14C6C93ull, words[0]), low0 = 0xD2E7470EE14C6C93ull * words[0];
            Word high1 = __umul64hi(0xCA5A826395121157ull, words[2]), low1 = 0xCA5A826395121157ull * words[2];
            words[0] = high1 ^ words[1] ^ key0;
            words[1] = low1;
            words[2] = high0 ^ words[3] ^ key1;
            words[3] = low0;
            key0 += 0x9E3779B97F4A7C15ull;
            key1 += 0xBB67AE8584CAA73Bull;
        }
    }
    // Number i in [0, 1), of 24 bits.
    __device__ float uniform(int i) const {
        unsigned bits = static_cast<unsigned>(words[i / 2] >> (i % 2 ? 32 : 0));
        return float(bits >> 8) * (1.0f / (1 << 24));
    }
};

// `kept` where the number drawn is p or more, else 0.
template <class T, class Seed>
__global__ void __launch_bounds__(THREADS) dropout_mask(T* y, Index n, double p, double kept, Seed seed) {
    each<8>(n, [&](Index i, Index left) {
        Drawn drawn(seed_of(seed), static_cast<Word>(i / 8));
        Pack<T, 8> pack;
#pragma unroll
        for (int v = 0; v < 8; v++) pack.set(v, drawn.uniform(v) >= float(p) ? Wide<T>(kept) : Wide<T>(0));
        pack.store(y + i, left);
    });
}
