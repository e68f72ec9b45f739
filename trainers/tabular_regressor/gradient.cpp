// Loss and gradient of the tabular regressor on a batch, for processors that multiply bfloat16 (AVX-512).
//
// Linear layers but the last multiply in bfloat16 and add up in float32; all else is float32. A thread takes some rows
// of the batch through the whole network and back, so that they stay in its cache; then the threads share the products
// that make the weights' gradients. The same number of threads gives the same bits. The products are AVX-512's, or
// AMX's where the processor has it, which multiplies many times as fast.
//
// The formulas are those of `model.py`. Matrices are row-major. "Paired" means that two rows lie interleaved, element
// by element: what the instruction that multiplies bfloat16 takes. "Tiled" means that each 16 rows of 16 pairs lie in one
// piece, a tile: AMX loads one into a register.

#include <immintrin.h>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

using Bfloat16 = std::uint16_t;
using Pair = std::uint32_t;  // two of them
using Index = std::int64_t;

constexpr Index kFloats = 16;     // of a vector
constexpr Index kTileRows = 12;   // of a product: with two vectors of columns, 24 sums in registers
constexpr Index kTileColumns = 2 * kFloats;
constexpr Index kTaskRows = 4 * kTileRows;  // of a weight's gradient
constexpr Index kRowsAtOnce = 48;           // that a thread takes through the network and back
constexpr Index kTile = 16;                 // rows of a tile, and pairs of each row
constexpr Index kTilePairs = kTile * kTile;
constexpr Index kStep = 2 * kTile;          // of a product by AMX: rows and columns in registers, and products in a sum
constexpr float kEpsilon = 1e-5f;           // LayerNorm's

Index padded(Index size) { return (size + 31) / 32 * 32; }

struct Sizes {
  Index most_rows, features, hidden, blocks, targets, threads;
  Index amx;  // 1 to multiply by AMX, 0 by AVX-512

  Index stages() const { return 1 + 2 * blocks; }
  Index inputs(Index stage) const { return stage == 0 ? features : hidden; }
  // A stage's weight, its bias, and LayerNorm's weight and bias, in the order of the network's parameters.
  Index parameters(Index stage) const { return hidden * (inputs(stage) + 3); }
  // Where the weight of the last layer begins, which its bias follows.
  Index first_output() const { return parameters(0) + 2 * blocks * hidden * (hidden + 3); }
};

// Memory, taken piece by piece; from nullptr only counted.
struct Arena {
  char* begin;
  Index taken = 0;

  template <typename T>
  T* take(Index count) {
    T* piece = begin == nullptr ? nullptr : reinterpret_cast<T*>(begin + taken);
    taken += (count * Index(sizeof(T)) + 63) / 64 * 64;
    return piece;
  }
};

// A linear layer with its LayerNorm.
struct Stage {
  Index inputs, padded_inputs, first_parameter;
  Bfloat16* weight;        // (H, I); with AMX its transpose (I, H), paired and tiled
  Pair* weight_paired;     // (H / 2, I); with AMX also tiled
  Bfloat16* given;         // (B, I), what the layer multiplies
  Pair* given_paired;      // (B / 2, I); with AMX also tiled
  float* normalized;       // (B, H), before LayerNorm's weight and bias
  float* inverse_sd;       // (B)
  float* slope;            // (B, H), of GELU and dropout after it; of the first stage of a block
  Bfloat16* upstream;      // (B, H), gradient of the layer's outputs
  Pair* upstream_paired;   // (B / 2, H)
  Pair* upstream_turned;   // (H, B / 2), tiled, for AMX
  float* sums;             // (threads, 3, H), gradients of bias, LayerNorm's weight and its bias
};

constexpr Index kMostStages = 257;

struct Memory {
  Stage stages[kMostStages];
  float *hidden, *downstream, *scratch, *outputs, *output_gradient;
  double *losses, *squares;
  Index bytes;

  Memory(const Sizes& sizes, char* begin) {
    Arena arena{begin};
    const Index rows = padded(sizes.most_rows), width = padded(sizes.hidden);
    Index first_parameter = 0;
    for (Index number = 0; number < sizes.stages(); ++number) {
      const Index inputs = sizes.inputs(number), columns = padded(inputs);
      Stage& stage = stages[number];
      stage.inputs = inputs;
      stage.padded_inputs = columns;
      stage.first_parameter = first_parameter;
      stage.weight = arena.take<Bfloat16>(width * columns);
      stage.weight_paired = arena.take<Pair>(width / 2 * columns);
      stage.given = arena.take<Bfloat16>(rows * columns);
      stage.given_paired = arena.take<Pair>(rows / 2 * columns);
      stage.normalized = arena.take<float>(rows * width);
      stage.inverse_sd = arena.take<float>(rows);
      stage.slope = arena.take<float>(rows * width);
      stage.upstream = arena.take<Bfloat16>(rows * width);
      stage.upstream_paired = arena.take<Pair>(rows / 2 * width);
      stage.upstream_turned = arena.take<Pair>(sizes.amx * width * rows / 2);
      stage.sums = arena.take<float>(sizes.threads * 3 * width);
      first_parameter += sizes.parameters(number);
    }
    hidden = arena.take<float>(rows * width);
    downstream = arena.take<float>(rows * width);
    scratch = arena.take<float>(rows * width);
    outputs = arena.take<float>(rows * 3 * sizes.targets);
    output_gradient = arena.take<float>(rows * 3 * sizes.targets);
    losses = arena.take<double>(rows);
    squares = arena.take<double>(num_tasks(sizes) + sizes.stages() + 1);
    bytes = arena.taken;
  }

  static Index task_rows(const Sizes& sizes) { return sizes.amx != 0 ? kStep : kTaskRows; }
  static Index tasks_of_stage(const Sizes& sizes) { return (sizes.hidden + task_rows(sizes) - 1) / task_rows(sizes); }
  static Index num_tasks(const Sizes& sizes) { return sizes.stages() * tasks_of_stage(sizes); }
};

// --- Rounding and pairing ---

// The mask of the floats of a vector that are inside, where `left` are from its first to the end of a row.
inline __mmask16 inside_of(Index left) { return left >= kFloats ? 0xffff : (1u << left) - 1; }

void round_row(const float* values, Bfloat16* rounded, Index size) {
  for (Index i = 0; i < size; i += kFloats) {
    const __mmask16 inside = inside_of(size - i);
    const __m256i narrow = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(inside, values + i));
    _mm256_mask_storeu_epi16(rounded + i, inside, narrow);
  }
}

void pair_rows(const Bfloat16* even, const Bfloat16* odd, Pair* paired, Index size) {
  for (Index i = 0; i < size; ++i) paired[i] = Pair(even[i]) | Pair(odd[i]) << 16;
}

// Put 16 rows of 16 pairs one after the other, transposed; `row_step` is from one row to the next.
void transpose_tile(const Pair* pairs, Index row_step, Pair* tile) {
  const __m512i numbers = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i places = _mm512_mullo_epi32(numbers, _mm512_set1_epi32(int(row_step)));
  for (Index i = 0; i < kTile; ++i) _mm512_storeu_si512(tile + i * kTile, _mm512_i32gather_epi32(places, pairs + i, 4));
}

// Pair and tile rows [begin, end) of a matrix, both even. The tiles of the same 16 columns, `num_tiles` of them, lie one
// after the other.
void tile_matrix(const Bfloat16* matrix, Pair* tiled, Index begin, Index end, Index columns, Index num_tiles) {
  for (Index pair = begin / 2; pair < end / 2; ++pair) {
    Pair* first = tiled + pair / kTile * kTilePairs + pair % kTile * kTile;
    for (Index i = 0; i < columns; i += kTile)
      pair_rows(matrix + 2 * pair * columns + i, matrix + (2 * pair + 1) * columns + i,
                first + i / kTile * num_tiles * kTilePairs, kTile);
  }
}

// Pair rows [begin, end) of a matrix, of which the row at `end` counts as zeros; `begin` is even.
void pair_matrix(Bfloat16* matrix, Pair* paired, Index begin, Index end, Index columns) {
  if (end % 2 != 0) std::memset(matrix + end * columns, 0, columns * sizeof(Bfloat16));
  for (Index i = begin; i < end; i += 2)
    pair_rows(matrix + i * columns, matrix + (i + 1) * columns, paired + i / 2 * columns, columns);
}

// --- Products ---

inline __m512bh vector_of(const void* place) { return (__m512bh)_mm512_loadu_si512(place); }

inline __m128 sums_of(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512 abcd =
      _mm512_add_ps((__m512)_mm512_unpacklo_pd((__m512d)ab, (__m512d)cd),
                    (__m512)_mm512_unpackhi_pd((__m512d)ab, (__m512d)cd));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

// Rows times 4 rows of a weight: results[r][0..4) = sum_k rows[r][k] weight[0..4)[k].
template <int kRows>
void dot_tile(const Bfloat16* rows, const Bfloat16* weight, float* results, Index columns, Index width) {
  __m512 sums[kRows][4];
  for (auto& row : sums)
    for (auto& sum : row) sum = _mm512_setzero_ps();
  for (Index k = 0; k < columns; k += 32) {
    __m512bh of_weight[4];
    for (int o = 0; o < 4; ++o) of_weight[o] = vector_of(weight + o * columns + k);
    for (int r = 0; r < kRows; ++r) {
      const __m512bh of_row = vector_of(rows + r * columns + k);
      for (int o = 0; o < 4; ++o) sums[r][o] = _mm512_dpbf16_ps(sums[r][o], of_row, of_weight[o]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    _mm_storeu_ps(results + r * width, sums_of(sums[r][0], sums[r][1], sums[r][2], sums[r][3]));
}

// results (rows, H) = given (rows, I) times the weight's transpose, without the bias.
void multiply(const Stage& stage, Index begin, Index end, Index width, float* results) {
  using Tile = void (*)(const Bfloat16*, const Bfloat16*, float*, Index, Index);
  constexpr Tile tiles[] = {nullptr, dot_tile<1>, dot_tile<2>, dot_tile<3>, dot_tile<4>, dot_tile<5>, dot_tile<6>};
  const Index columns = stage.padded_inputs;
  for (Index o = 0; o < width; o += 4)
    for (Index r = begin; r < end; r += 6)
      tiles[std::min<Index>(6, end - r)](stage.given + r * columns, stage.weight + o * columns,
                                         results + r * width + o, columns, width);
}

// results[m][0..32) = sum_j left[m * row_step + j * pair_step] right[j][0..32), of pairs.
template <int kRows>
void outer_tile(const Pair* left, Index row_step, Index pair_step, const Pair* right, Index columns, Index num_pairs,
                __m512 (*sums)[2]) {
  __m512 own[kRows][2];
  for (auto& row : own) row[0] = row[1] = _mm512_setzero_ps();
  for (Index j = 0; j < num_pairs; ++j) {
    const __m512bh first = vector_of(right + j * columns), second = vector_of(right + j * columns + kFloats);
    for (int m = 0; m < kRows; ++m) {
      const __m512bh value = (__m512bh)_mm512_set1_epi32(int(left[m * row_step + j * pair_step]));
      own[m][0] = _mm512_dpbf16_ps(own[m][0], value, first);
      own[m][1] = _mm512_dpbf16_ps(own[m][1], value, second);
    }
  }
  for (int m = 0; m < kRows; ++m)
    for (int half = 0; half < 2; ++half) sums[m][half] = own[m][half];
}

using OuterTile = void (*)(const Pair*, Index, Index, const Pair*, Index, Index, __m512 (*)[2]);
constexpr OuterTile kOuterTiles[] = {
    nullptr,       outer_tile<1>, outer_tile<2>, outer_tile<3>,  outer_tile<4>,  outer_tile<5>, outer_tile<6>,
    outer_tile<7>, outer_tile<8>, outer_tile<9>, outer_tile<10>, outer_tile<11>, outer_tile<12>};

// results (rows, I) = upstream (rows, H) times the weight.
void multiply_back(const Stage& stage, Index begin, Index end, Index width, float* results) {
  const Pair* upstream = reinterpret_cast<const Pair*>(stage.upstream);
  const Index columns = stage.padded_inputs;
  __m512 sums[kTileRows][2];
  for (Index i = 0; i < columns; i += kTileColumns)
    for (Index r = begin; r < end; r += kTileRows) {
      const Index rows = std::min(kTileRows, end - r);
      kOuterTiles[rows](upstream + r * (width / 2), width / 2, 1, stage.weight_paired + i, columns, width / 2, sums);
      for (Index m = 0; m < rows; ++m)
        for (int half = 0; half < 2; ++half) _mm512_storeu_ps(results + (r + m) * columns + i + half * kFloats, sums[m][half]);
    }
}

// Rows [begin, end) of the weight's gradient (H, I); returns the sum of their squares.
double weight_gradient(const Stage& stage, Index begin, Index end, Index rows, Index width, float* gradient) {
  const Index columns = stage.padded_inputs, inputs = stage.inputs;
  double squares = 0;
  __m512 sums[kTileRows][2];
  for (Index i = 0; i < inputs; i += kTileColumns)
    for (Index o = begin; o < end; o += kTileRows) {
      const Index height = std::min(kTileRows, end - o);
      kOuterTiles[height](stage.upstream_paired + o, 1, width, stage.given_paired + i, columns, (rows + 1) / 2, sums);
      __m512 of_tile = _mm512_setzero_ps();
      for (Index m = 0; m < height; ++m)
        for (int half = 0; half < 2; ++half) {
          const Index left = inputs - i - half * kFloats;
          if (left <= 0) continue;
          _mm512_mask_storeu_ps(gradient + (o + m) * inputs + i + half * kFloats, inside_of(left), sums[m][half]);
          of_tile = _mm512_fmadd_ps(sums[m][half], sums[m][half], of_tile);  // columns of the padding are zeros
        }
      squares += _mm512_reduce_add_ps(of_tile);
    }
  return squares;
}

// --- Products by AMX ---

#if defined(__AMX_BF16__) && defined(__linux__)

// Linux gives a process the registers of AMX when it asks for them.
bool takes_amx() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool is_given = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return is_given;
}

// The compiler does not know that the instructions of AMX read memory.
inline void finish_stores() { asm volatile("" ::: "memory"); }

struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// Set up the registers for a left side of 1 to 32 rows: results in 0 to 3, left side in 4 and 5, right side in 6 and 7.
void begin_amx(Index rows) {
  TileShapes shapes;
  const Index lower = std::max<Index>(1, rows - kTile), upper = std::min(rows, kTile);
  const Index heights[] = {upper, upper, lower, lower, upper, lower, kTile, kTile};
  for (int number = 0; number < 8; ++number) {
    shapes.bytes[number] = 64;
    shapes.rows[number] = std::uint8_t(heights[number]);
  }
  asm volatile("" ::"r"(&shapes) : "memory");
  _tile_loadconfig(&shapes);
}

void end_amx() { _tile_release(); }

// The left side of a product of up to 32 rows. Distances are numbers of bfloat16.
struct Left {
  const Bfloat16* begin;
  Index row_step;     // from a row to the next
  Index column_step;  // from 32 columns to the next
  Index lower;        // from the first row to the row 16 below it
};

// results (rows, 32) = left times right, as many rows as `begin_amx` was given; more than 16 if there is a lower half.
// The right side is tiled, and its right half lies `half` pairs behind its left one.
template <bool kHasLower>
void amx_product(const Left& left, const Pair* right, Index half, Index num_steps, float* results, Index width) {
  const Index left_bytes = left.row_step * Index(sizeof(Bfloat16)), bytes = width * Index(sizeof(float));
  finish_stores();
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kHasLower) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (Index step = 0; step < num_steps; ++step) {
    const Bfloat16* upper = left.begin + step * left.column_step;
    _tile_loadd(6, right + step * kTilePairs, 64);
    _tile_loadd(7, right + half + step * kTilePairs, 64);
    _tile_loadd(4, upper, left_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kHasLower) {
      _tile_loadd(5, upper + left.lower, left_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, results, bytes);
  _tile_stored(1, results + kTile, bytes);
  if constexpr (kHasLower) {
    _tile_stored(2, results + kTile * width, bytes);
    _tile_stored(3, results + kTile * width + kTile, bytes);
  }
}

// results (rows, width) = rows [begin, end) of a matrix times one that is tiled.
void amx_multiply(const Bfloat16* matrix, Index columns, Index begin, Index end, const Pair* right, Index width,
                  float* results) {
  const Index num_steps = columns / kStep, half = num_steps * kTilePairs;
  for (Index r = begin; r < end; r += kStep) {
    const Index rows = std::min(kStep, end - r);
    const Left left{matrix + r * columns, columns, kStep, kTile * columns};
    begin_amx(rows);
    for (Index i = 0; i < width; i += kStep)
      (rows > kTile ? amx_product<true> : amx_product<false>)(left, right + i / kTile * half, half, num_steps,
                                                              results + r * width + i, width);
  }
  end_amx();
}

// As `weight_gradient`, of 32 rows from `begin` on at most.
double amx_weight_gradient(const Stage& stage, Index begin, Index end, Index rows, Index width, float* gradient) {
  const Index inputs = stage.inputs, num_steps = padded(rows) / kStep, half = num_steps * kTilePairs;
  Pair* turned = stage.upstream_turned + begin * num_steps * kTile;
  for (Index column = 0; column < kStep; column += kTile)
    for (Index step = 0; step < num_steps; ++step)
      transpose_tile(stage.upstream_paired + step * kTile * width + begin + column, width,
                     turned + column / kTile * half + step * kTilePairs);
  const Left left{reinterpret_cast<const Bfloat16*>(turned), kStep, 2 * kTilePairs, 2 * half};
  alignas(64) float sums[kStep * kStep];
  double squares = 0;
  begin_amx(kStep);
  for (Index i = 0; i < inputs; i += kStep) {
    amx_product<true>(left, stage.given_paired + i / kTile * half, half, num_steps, sums, kStep);
    __m512 of_columns = _mm512_setzero_ps();
    for (Index o = begin; o < end; ++o)
      for (Index column = 0; column < std::min(kStep, inputs - i); column += kFloats) {
        const Index left_over = inputs - i - column;
        const __m512 values = _mm512_load_ps(sums + (o - begin) * kStep + column);
        _mm512_mask_storeu_ps(gradient + o * inputs + i + column, inside_of(left_over), values);
        of_columns = _mm512_fmadd_ps(values, values, of_columns);  // columns of the padding are zeros
      }
    squares += _mm512_reduce_add_ps(of_columns);
  }
  end_amx();
  return squares;
}

#else

bool takes_amx() { return false; }
void amx_multiply(const Bfloat16*, Index, Index, Index, const Pair*, Index, float*) {}
double amx_weight_gradient(const Stage&, Index, Index, Index, Index, float*) { return 0; }

#endif

// --- LayerNorm, GELU and the loss ---

// e^x of x <= 0, to about 1e-7 of it.
inline float exponential(float x) {
  x = std::max(x, -87.0f);
  const float power = std::floor(x * 1.44269504f + 0.5f);
  const float rest = (x - power * 0.693359375f) + power * 2.12194440e-4f;
  float sum = 1.9875691500e-4f;  // Cephes' expf
  sum = sum * rest + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = sum * rest * rest + rest + 1.0f;
  return sum * std::bit_cast<float>((std::int32_t(power) + 127) << 23);
}

// Share of the normal distribution below x, to 1e-7 (Abramowitz and Stegun 7.1.26), and the density at x.
inline void normal(float x, float& share, float& density) {
  const float distance = std::abs(x) * 0.70710678f;
  const float inverse = 1.0f / (1.0f + 0.3275911f * distance);
  const float bell = exponential(-distance * distance);
  float sum = 1.061405429f;
  sum = sum * inverse - 1.453152027f;
  sum = sum * inverse + 1.421413741f;
  sum = sum * inverse - 0.284496736f;
  sum = sum * inverse + 0.254829592f;
  const float tail = 0.5f * sum * inverse * bell;
  share = x < 0 ? tail : 1.0f - tail;
  density = bell * 0.39894228f;
}

// Add the bias and normalize a row in place; returns the inverse standard deviation.
float normalize(float* values, const float* bias, Index size) {
  float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < size; ++i) sum += values[i] += bias[i];
  const float mean = sum / float(size);
#pragma omp simd reduction(+ : squares)
  for (Index i = 0; i < size; ++i) squares += (values[i] - mean) * (values[i] - mean);
  const float inverse_sd = 1.0f / std::sqrt(squares / float(size) + kEpsilon);
#pragma omp simd
  for (Index i = 0; i < size; ++i) values[i] = (values[i] - mean) * inverse_sd;
  return inverse_sd;
}

// Go back through LayerNorm in place, from the gradient of its outputs to that of its inputs; add to the sums.
void normalize_back(float* gradient, const float* normalized, float inverse_sd, const float* scale, Index size,
                    Index width, float* sums) {
  float total = 0, along = 0;
#pragma omp simd reduction(+ : total, along)
  for (Index i = 0; i < size; ++i) {
    sums[width + i] += gradient[i] * normalized[i];
    sums[2 * width + i] += gradient[i];
    gradient[i] *= scale[i];
    total += gradient[i];
    along += gradient[i] * normalized[i];
  }
  total /= float(size);
  along /= float(size);
#pragma omp simd
  for (Index i = 0; i < size; ++i) {
    gradient[i] = inverse_sd * (gradient[i] - total - normalized[i] * along);
    sums[i] += gradient[i];
  }
}

// Loss of a row, summed over its targets, and the gradient of the mean over all rows and targets.
double row_loss(const float* outputs, const float* targets, Index num_targets, float count, float* gradient) {
  double loss = 0;
  for (Index k = 0; k < num_targets; ++k) {
    const float p1 = outputs[3 * k], off_2 = outputs[3 * k + 1] - targets[k], off_3 = outputs[3 * k + 2] - targets[k];
    const float mix = (1.0f - std::clamp(p1, -1.0f, 1.0f)) / 2.0f;
    loss += mix * off_2 * off_2 + (1.0f - mix) * off_3 * off_3;
    const bool is_inside = p1 >= -1.0f && p1 <= 1.0f;
    gradient[3 * k] = is_inside ? -0.5f * (off_2 * off_2 - off_3 * off_3) / count : 0.0f;
    gradient[3 * k + 1] = 2.0f * mix * off_2 / count;
    gradient[3 * k + 2] = 2.0f * (1.0f - mix) * off_3 / count;
  }
  return loss;
}

}  // namespace

struct Step {
  Sizes sizes;
  Index rows;                  // of this batch
  const float *features;       // (B, F)
  const float *targets;        // (B, K)
  const std::uint8_t *masks;   // (2 blocks, B, H), 1 where dropout keeps; null without dropout
  float kept_scale;            // what dropout multiplies by
  const float *parameters;     // end to end
  float *gradients;            // likewise
  char *memory;                // `memory_bytes` of it, zeros at first, the same in all calls
};

namespace {

// As `round_weights`, for AMX.
void tile_weights(const Step& step, const Memory& memory) {
  const Sizes& sizes = step.sizes;
  const Index width = padded(sizes.hidden), tasks_of_stage = width / kStep;
#pragma omp parallel for num_threads(sizes.threads) schedule(static)
  for (Index task = 0; task < sizes.stages() * tasks_of_stage; ++task) {
    const Stage& stage = memory.stages[task / tasks_of_stage];
    const Index first = task % tasks_of_stage * kStep, columns = stage.padded_inputs;
    const float* weight = step.parameters + stage.first_parameter;
    Pair* transposed = reinterpret_cast<Pair*>(stage.weight) + first * columns / 2;
    alignas(64) Bfloat16 rounded[kStep * kStep] = {};
    for (Index i = 0; i < columns; i += kStep) {
      const Index inside = std::min(kStep, stage.inputs - i);
      if (inside < kStep) std::memset(rounded, 0, sizeof(rounded));
      for (Index o = first; o < std::min(first + kStep, sizes.hidden); ++o)
        round_row(weight + o * stage.inputs + i, rounded + (o - first) * kStep, inside);
      for (Index half = 0; half < 2; ++half)
        transpose_tile(reinterpret_cast<const Pair*>(rounded) + half * kTilePairs, kTile,
                       transposed + half * kTile * columns / 2 + i / kStep * kTilePairs);
      tile_matrix(rounded, stage.weight_paired + i / kTile * (width / 2) * kTile + first / 2 * kTile, 0, kStep, kStep,
                  width / kStep);
    }
  }
}

// Round the weights of the linear layers but the last.
void round_weights(const Step& step, const Memory& memory) {
  const Sizes& sizes = step.sizes;
  if (sizes.amx != 0) return tile_weights(step, memory);
  const Index pairs_of_stage = (sizes.hidden + 1) / 2;
#pragma omp parallel for num_threads(sizes.threads) schedule(static)
  for (Index task = 0; task < sizes.stages() * pairs_of_stage; ++task) {
    const Stage& stage = memory.stages[task / pairs_of_stage];
    const Index even = task % pairs_of_stage * 2, columns = stage.padded_inputs;
    const float* weight = step.parameters + stage.first_parameter;
    for (Index o = even; o < std::min(even + 2, sizes.hidden); ++o)
      round_row(weight + o * stage.inputs, stage.weight + o * columns, stage.inputs);
    pair_rows(stage.weight + even * columns, stage.weight + (even + 1) * columns,
              stage.weight_paired + even / 2 * columns, columns);
  }
}

// Take rows [begin, end) through the network and back: their losses, and what the weights' gradients are made of.
void pass_rows(const Step& step, const Memory& memory, Index thread, Index begin, Index end) {
  const Sizes& sizes = step.sizes;
  const Index rows = step.rows, size = sizes.hidden, width = padded(size), num_outputs = 3 * sizes.targets;
  const float* output_weight = step.parameters + sizes.first_output();
  const float* output_bias = output_weight + num_outputs * size;
  const float count = float(rows * sizes.targets);

  // The linear layer, its bias and LayerNorm of a stage.
  const auto pass = [&](const Stage& stage) {
    if (sizes.amx != 0)
      amx_multiply(stage.given, stage.padded_inputs, begin, end, reinterpret_cast<const Pair*>(stage.weight), width,
                   stage.normalized);
    else
      multiply(stage, begin, end, width, stage.normalized);
    const float* bias = step.parameters + stage.first_parameter + size * stage.inputs;
    for (Index r = begin; r < end; ++r) stage.inverse_sd[r] = normalize(stage.normalized + r * width, bias, size);
  };
  const auto scale_of = [&](const Stage& stage) {
    return step.parameters + stage.first_parameter + size * (stage.inputs + 1);
  };
  // A factor of each place of a row: zero where dropout drops.
  const auto mask_of = [&](Index number, Index r) {
    return step.masks == nullptr ? nullptr : step.masks + (number * rows + r) * size;
  };

  // --- Forward ---
  const Stage& first = memory.stages[0];
  for (Index r = begin; r < end; ++r)
    round_row(step.features + r * sizes.features, first.given + r * first.padded_inputs, sizes.features);
  pass(first);
  for (Index r = begin; r < end; ++r) {
    const float *scale = scale_of(first), *shift = scale + size, *normalized = first.normalized + r * width;
    float* hidden = memory.hidden + r * width;
#pragma omp simd
    for (Index i = 0; i < size; ++i) hidden[i] = normalized[i] * scale[i] + shift[i];
  }
  for (Index block = 0; block < sizes.blocks; ++block) {
    const Stage &inner = memory.stages[1 + 2 * block], &outer = memory.stages[2 + 2 * block];
    for (Index r = begin; r < end; ++r) round_row(memory.hidden + r * width, inner.given + r * width, size);
    pass(inner);
    for (Index r = begin; r < end; ++r) {
      const float *scale = scale_of(inner), *shift = scale + size, *normalized = inner.normalized + r * width;
      const std::uint8_t* mask = mask_of(2 * block, r);
      float *slope = inner.slope + r * width, *values = memory.scratch + r * width;
#pragma omp simd
      for (Index i = 0; i < size; ++i) {
        const float value = normalized[i] * scale[i] + shift[i];
        float below, density;
        normal(value, below, density);
        values[i] = value * below;
        slope[i] = below + value * density;
      }
      if (mask != nullptr) {
#pragma omp simd
        for (Index i = 0; i < size; ++i) {
          const float factor = float(mask[i]) * step.kept_scale;
          values[i] *= factor;
          slope[i] *= factor;
        }
      }
      round_row(values, outer.given + r * width, size);
    }
    pass(outer);
    for (Index r = begin; r < end; ++r) {
      const float *scale = scale_of(outer), *shift = scale + size, *normalized = outer.normalized + r * width;
      const std::uint8_t* mask = mask_of(2 * block + 1, r);
      float* hidden = memory.hidden + r * width;
      if (mask == nullptr) {
#pragma omp simd
        for (Index i = 0; i < size; ++i) hidden[i] += normalized[i] * scale[i] + shift[i];
      } else {
#pragma omp simd
        for (Index i = 0; i < size; ++i)
          hidden[i] += (normalized[i] * scale[i] + shift[i]) * (float(mask[i]) * step.kept_scale);
      }
    }
  }

  // --- Outputs and loss ---
  for (Index r = begin; r < end; ++r) {
    const float* hidden = memory.hidden + r * width;
    float *outputs = memory.outputs + r * num_outputs, *gradient = memory.output_gradient + r * num_outputs;
    for (Index o = 0; o < num_outputs; ++o) {
      const float* weight = output_weight + o * size;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (Index i = 0; i < size; ++i) sum += hidden[i] * weight[i];
      outputs[o] = sum + output_bias[o];
    }
    memory.losses[r] = row_loss(outputs, step.targets + r * sizes.targets, sizes.targets, count, gradient);
    float* downstream = memory.downstream + r * width;
    std::memset(downstream, 0, width * sizeof(float));
    for (Index o = 0; o < num_outputs; ++o) {
      const float* weight = output_weight + o * size;
#pragma omp simd
      for (Index i = 0; i < size; ++i) downstream[i] += gradient[o] * weight[i];
    }
  }

  // --- Backward ---
  // From the gradient of a stage's outputs, in `gradient` (rows, H), to that of the linear layer's.
  const auto pass_back = [&](const Stage& stage, float* gradient) {
    float* sums = stage.sums + thread * 3 * width;
    for (Index r = begin; r < end; ++r) {
      normalize_back(gradient + r * width, stage.normalized + r * width, stage.inverse_sd[r], scale_of(stage), size,
                     width, sums);
      round_row(gradient + r * width, stage.upstream + r * width, size);
    }
  };
  const auto multiply_by_weight = [&](const Stage& stage, float* results) {
    if (sizes.amx != 0)
      amx_multiply(stage.upstream, width, begin, end, stage.weight_paired, stage.padded_inputs, results);
    else
      multiply_back(stage, begin, end, width, results);
  };
  for (Index block = sizes.blocks - 1; block >= 0; --block) {
    const Stage &inner = memory.stages[1 + 2 * block], &outer = memory.stages[2 + 2 * block];
    for (Index r = begin; r < end; ++r) {
      const std::uint8_t* mask = mask_of(2 * block + 1, r);
      const float* downstream = memory.downstream + r * width;
      float* gradient = memory.scratch + r * width;
      if (mask == nullptr) {
        std::memcpy(gradient, downstream, size * sizeof(float));
      } else {
#pragma omp simd
        for (Index i = 0; i < size; ++i) gradient[i] = downstream[i] * (float(mask[i]) * step.kept_scale);
      }
    }
    pass_back(outer, memory.scratch);
    multiply_by_weight(outer, memory.scratch);
    for (Index r = begin; r < end; ++r) {
      float* gradient = memory.scratch + r * width;
      const float* slope = inner.slope + r * width;
#pragma omp simd
      for (Index i = 0; i < size; ++i) gradient[i] *= slope[i];
    }
    pass_back(inner, memory.scratch);
    multiply_by_weight(inner, memory.scratch);
    for (Index r = begin; r < end; ++r) {
      float* downstream = memory.downstream + r * width;
      const float* gradient = memory.scratch + r * width;
#pragma omp simd
      for (Index i = 0; i < size; ++i) downstream[i] += gradient[i];
    }
  }
  pass_back(first, memory.downstream);
}

}  // namespace

extern "C" {

Index most_stages() { return kMostStages; }

Index has_amx() { return takes_amx(); }

Index memory_bytes(const Sizes* sizes) { return Memory(*sizes, nullptr).bytes; }

// Fill in the gradients of a batch; returns its loss, and the sum of all gradients' squares in `squares`.
double loss_and_gradient(const Step* step, double* squares) {
  const Sizes& sizes = step->sizes;
  if (sizes.amx != 0 && !takes_amx()) return *squares = std::nan("");  // another process chose it
  const Memory memory(sizes, step->memory);
  const Index rows = step->rows, size = sizes.hidden, width = padded(size), num_outputs = 3 * sizes.targets;
  const Index num_stages = sizes.stages(), rows_at_once = sizes.amx != 0 ? kStep : kRowsAtOnce;
  round_weights(*step, memory);

#pragma omp parallel for num_threads(sizes.threads) schedule(static, 1)
  for (Index thread = 0; thread < sizes.threads; ++thread) {
    const Index share = ((rows + sizes.threads - 1) / sizes.threads + 1) / 2 * 2;  // even: rows are paired
    const Index begin = std::min(rows, thread * share), end = std::min(rows, begin + share);
    for (Index number = 0; number < num_stages; ++number)
      std::memset(memory.stages[number].sums + thread * 3 * width, 0, 3 * width * sizeof(float));

    for (Index r = begin; r < end; r += rows_at_once)
      pass_rows(*step, memory, thread, r, std::min(r + rows_at_once, end));
    for (Index number = 0; number < num_stages && begin < end; ++number) {
      const Stage& stage = memory.stages[number];
      const Index columns = stage.padded_inputs;
      if (sizes.amx != 0) {
        const Index last = end == rows ? padded(rows) : end;  // AMX adds up 32 rows at once: those after the last are zeros
        std::memset(stage.given + end * columns, 0, (last - end) * columns * sizeof(Bfloat16));
        std::memset(stage.upstream + end * width, 0, (last - end) * width * sizeof(Bfloat16));
        tile_matrix(stage.given, stage.given_paired, begin, last, columns, padded(rows) / kStep);
        pair_matrix(stage.upstream, stage.upstream_paired, begin, last, width);
      } else {
        pair_matrix(stage.given, stage.given_paired, begin, end, columns);
        pair_matrix(stage.upstream, stage.upstream_paired, begin, end, width);
      }
    }
  }

  // --- Gradients of the weights ---
  const Index tasks_of_stage = Memory::tasks_of_stage(sizes), num_tasks = Memory::num_tasks(sizes);
#pragma omp parallel for num_threads(sizes.threads) schedule(static)
  for (Index task = 0; task < num_tasks + num_stages + 1; ++task) {
    double sum = 0;
    if (task < num_tasks) {
      const Stage& stage = memory.stages[task / tasks_of_stage];
      const Index height = Memory::task_rows(sizes), begin = task % tasks_of_stage * height;
      sum = (sizes.amx != 0 ? amx_weight_gradient : weight_gradient)(
          stage, begin, std::min(begin + height, size), rows, width, step->gradients + stage.first_parameter);
    } else if (task < num_tasks + num_stages) {
      const Stage& stage = memory.stages[task - num_tasks];
      float* gradient = step->gradients + stage.first_parameter + size * stage.inputs;
      for (Index vector = 0; vector < 3; ++vector)
        for (Index i = 0; i < size; ++i) {
          float total = 0;
          for (Index thread = 0; thread < sizes.threads; ++thread)
            total += stage.sums[(thread * 3 + vector) * width + i];
          gradient[vector * size + i] = total;
          sum += double(total) * double(total);
        }
    } else {
      float *weight = step->gradients + sizes.first_output(), *bias = weight + num_outputs * size;
      std::memset(weight, 0, (num_outputs * size + num_outputs) * sizeof(float));
      for (Index r = 0; r < rows; ++r)
        for (Index o = 0; o < num_outputs; ++o) {
          const float upstream = memory.output_gradient[r * num_outputs + o], *hidden = memory.hidden + r * width;
          bias[o] += upstream;
#pragma omp simd
          for (Index i = 0; i < size; ++i) weight[o * size + i] += upstream * hidden[i];
        }
      for (Index i = 0; i < num_outputs * size + num_outputs; ++i) sum += double(weight[i]) * double(weight[i]);
    }
    memory.squares[task] = sum;
  }

  // Serially, for the same bits whichever thread was done first.
  double loss = 0;
  *squares = 0;
  for (Index r = 0; r < rows; ++r) loss += memory.losses[r];
  for (Index task = 0; task < num_tasks + num_stages + 1; ++task) *squares += memory.squares[task];
  return loss / double(rows * sizes.targets);
}

}  // extern "C"

// --- Dropout masks by PyTorch's generator on CPUs, the Mersenne Twister, a number of 53 bits for each place ---

namespace {

constexpr Index kWords = 624, kAhead = 397;

inline std::uint32_t twisted(std::uint32_t high, std::uint32_t low) {
  const std::uint32_t mixed = (high & 0x80000000u) | (low & 0x7fffffffu);
  return (mixed >> 1) ^ ((low & 1u) != 0 ? 0x9908b0dfu : 0u);
}

void renew(std::uint32_t* words) {
  for (Index k = 0; k < kWords - kAhead; ++k) words[k] = words[k + kAhead] ^ twisted(words[k], words[k + 1]);
  for (Index k = kWords - kAhead; k < kWords - 1; ++k)
    words[k] = words[k + kAhead - kWords] ^ twisted(words[k], words[k + 1]);
  words[kWords - 1] = words[kAhead - 1] ^ twisted(words[kWords - 1], words[0]);
}

inline std::uint32_t tempered(std::uint32_t word) {
  word ^= word >> 11;
  word ^= (word << 7) & 0x9d2c5680u;
  word ^= (word << 15) & 0xefc60000u;
  return word ^ (word >> 18);
}

}  // namespace

extern "C" {

// The beginning of PyTorch's state of a generator, as `torch.get_rng_state` gives it.
struct Twister {
  std::uint64_t seed;
  std::int32_t left, is_seeded;
  std::uint64_t next;
  std::uint64_t words[kWords];
};

// Fill masks with 1 at places that dropout keeps with a probability; the generator goes on as PyTorch's would.
void draw_masks(Twister* twister, double kept, std::uint8_t* masks, Index count, std::uint32_t* drawn) {
  std::uint32_t words[kWords];
  for (Index k = 0; k < kWords; ++k) words[k] = std::uint32_t(twister->words[k]);
  Index next = twister->left == 1 ? kWords : Index(twister->next);
  for (Index done = 0; done < 2 * count;) {
    if (next == kWords) {
      renew(words);
      next = 0;
    }
    const Index number = std::min(kWords - next, 2 * count - done);
    for (Index k = 0; k < number; ++k) drawn[done + k] = tempered(words[next + k]);
    next += number;
    done += number;
  }
  for (Index i = 0; i < count; ++i) {
    const std::uint64_t bits = (std::uint64_t(drawn[2 * i]) << 32 | drawn[2 * i + 1]) & ((1ull << 53) - 1);
    masks[i] = double(bits) * 0x1p-53 < kept;
  }
  for (Index k = 0; k < kWords; ++k) twister->words[k] = words[k];
  twister->next = std::uint64_t(next);
  twister->left = std::int32_t(kWords + 1 - next);
}

}  // extern "C"
