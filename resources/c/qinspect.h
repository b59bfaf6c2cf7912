/* qinspect.h - runs quantized layers on small devices. C99 and C++11.
 *
 * No allocation, no library but memcpy, no division in a loop over weights. All weights of a model are one array of
 * 32-bit words, `data`; what a qi_matrix says of itself are places in it, counted in words, 0 for "there is none".
 *
 * Codes of a row stand in groups that share parameters. A group begins with a new word; a word holds `digits` codes as
 * the digits of one number of base `base`, the first weight in the lowest digit (4 bits a code are base 16). A code
 * means
 *     (code - zero) * scale + offset      or, where there is a table of levels,      table[code] * scale + offset
 * so that, for even levels, a row times x is the sum over its groups of
 *     unit * scale * (sum(code * x) - zero * sum(x)) + offset * sum(x)
 * in which sum(x) is the same for all rows.
 */
#ifndef QINSPECT_H
#define QINSPECT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define QI_VERSION 1u
#define QI_MAGIC 0x534E4951u /* "QINS" */
#define QI_HEADER_WORDS 8u

/* Where the weights go, such as __attribute__((section(".extflash"))), and how they are aligned. */
#ifndef QI_SECTION
#define QI_SECTION
#endif
#ifndef QI_ALIGN
#if defined(__GNUC__) || defined(__clang__)
#define QI_ALIGN __attribute__((aligned(16)))
#else
#define QI_ALIGN
#endif
#endif

/* Cores that multiply to 32 bits only. */
#ifndef QI_SHORT_MULTIPLY
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define QI_SHORT_MULTIPLY 1
#else
#define QI_SHORT_MULTIPLY 0
#endif
#endif

/* Types of stored parameters. */
#define QI_F32 0u
#define QI_F16 1u
#define QI_BF16 2u
#define QI_E8M0 3u /* a power of two */
#define QI_U8 4u
#define QI_U16 5u

/* What qi_check returns. */
#define QI_OK 0
#define QI_NO_MODEL 1      /* these bytes are no model */
#define QI_OTHER_VERSION 2 /* of a format that this runtime does not know */
#define QI_OTHER_LAYOUT 3  /* of a network or scheme that model.c was not made for */
#define QI_DAMAGED 4       /* too short, or the CRC-32 is another one */

typedef struct qi_matrix {
    uint32_t rows, cols;
    uint32_t group;       /* weights of a row that share parameters; the last group of a row may hold fewer */
    uint32_t sets;        /* parameter sets of a row; 0 where one serves all rows */
    uint32_t base;        /* of the digits; 0 where the codes are float32 weights */
    uint32_t digits;      /* in a word */
    uint32_t group_words; /* words of a group; the last of a row has no more than it needs */
    uint32_t row_words;   /* words of a row */
    uint32_t bits;        /* of a digit; 0 where base is no power of two */
    uint32_t reciprocal;  /* 2^(32 + shift) / base, rounded down */
    uint32_t shift;
    uint32_t codes, scale, offset, zero, table; /* places in the data */
    uint32_t scale_type, zero_type;             /* offsets have the type of scales */
    float unit;                                 /* of a level, in scales: 1, or 1 / (base - 1) for even levels 0 to 1 */
    float fixed_zero, fixed_offset;             /* where all groups have the same */
    uint32_t even;                              /* whether levels are evenly spaced, so that the sums above hold */
} qi_matrix;

/* Numbers. */

static inline float qi_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float qi_half(uint32_t half)
{
    const uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7FFFu;
    float value;
    if (rest >= 0x7C00u) {
        return qi_float(sign | 0x7F800000u | ((rest & 0x3FFu) << 13));
    }
    if (rest >= 0x400u) {
        return qi_float(sign | ((rest << 13) + 0x38000000u));
    }
    value = (float)rest * 5.9604644775390625e-8f; /* 2^-24 */
    return sign ? -value : value;
}

/* The upper half of the 64-bit product. */
static inline uint32_t qi_mulhi(uint32_t a, uint32_t b)
{
#if QI_SHORT_MULTIPLY
    const uint32_t al = a & 0xFFFFu, ah = a >> 16, bl = b & 0xFFFFu, bh = b >> 16;
    const uint32_t middle = ah * bl + ((al * bl) >> 16);
    const uint32_t carry = al * bh + (middle & 0xFFFFu);
    return ah * bh + (middle >> 16) + (carry >> 16);
#else
    return (uint32_t)(((uint64_t)a * b) >> 32);
#endif
}

/* Square root, correct to the last place or the one beside it. */
static inline float qi_sqrt(float v)
{
    uint32_t bits;
    float root;
    int i;
    if (!(v > 0.0f)) {
        return v;
    }
    memcpy(&bits, &v, sizeof bits);
    root = qi_float(0x1FBD1DF5u + (bits >> 1));
    for (i = 0; i < 3; i++) {
        root = 0.5f * (root + v / root);
    }
    return root;
}

/* Entry i of stored parameters, as bits. */
static inline uint32_t qi_entry(const uint32_t *at, uint32_t type, uint32_t i)
{
    switch (type) {
    case QI_F32:
        return at[i];
    case QI_U8:
    case QI_E8M0:
        return (at[i >> 2] >> (8u * (i & 3u))) & 0xFFu;
    default:
        return (at[i >> 1] >> (16u * (i & 1u))) & 0xFFFFu;
    }
}

/* Entry i of stored parameters, as a number. */
static inline float qi_param(const uint32_t *at, uint32_t type, uint32_t i)
{
    const uint32_t entry = qi_entry(at, type, i);
    switch (type) {
    case QI_F32:
        return qi_float(entry);
    case QI_F16:
        return qi_half(entry);
    case QI_BF16:
        return qi_float(entry << 16);
    case QI_E8M0:
        return qi_float(entry ? entry << 23 : 0x00400000u);
    default:
        return (float)entry;
    }
}

/* Takes the lowest digit off a word. */
static inline uint32_t qi_digit(const qi_matrix *m, uint32_t *word)
{
    uint32_t rest, digit;
    if (m->bits) {
        digit = *word & (m->base - 1u);
        *word >>= m->bits;
        return digit;
    }
    rest = qi_mulhi(*word, m->reciprocal) >> m->shift;
    digit = *word - rest * m->base;
    if (digit >= m->base) { /* the reciprocal is rounded down */
        digit -= m->base;
        rest++;
    }
    *word = rest;
    return digit;
}

/* The weights of one row: `out` takes m->cols numbers. */
static inline void qi_decode_row(const qi_matrix *m, const uint32_t *data, uint32_t row, float *out)
{
    const uint32_t *codes = data + m->codes + (size_t)row * m->row_words;
    uint32_t start, i, group = 0;
    if (m->base == 0u) {
        memcpy(out, codes, m->cols * sizeof *out);
        return;
    }
    for (start = 0; start < m->cols; start += m->group, group++, codes += m->group_words) {
        const uint32_t set = m->sets ? row * m->sets + group : 0u;
        const float scale = qi_param(data + m->scale, m->scale_type, set);
        const float offset = m->offset ? qi_param(data + m->offset, m->scale_type, set) : m->fixed_offset;
        const float zero = m->zero ? qi_param(data + m->zero, m->zero_type, set) : m->fixed_zero;
        const uint32_t n = m->cols - start < m->group ? m->cols - start : m->group;
        uint32_t word = 0;
        uint32_t left = 0;
        const uint32_t *next = codes;
        for (i = 0; i < n; i++, left--) {
            uint32_t code;
            if (left == 0u) {
                word = *next++;
                left = m->digits;
            }
            code = qi_digit(m, &word);
            out[start + i] = m->table ? qi_float(data[m->table + code]) * scale + offset
                                      : ((float)code - zero) * scale + offset;
        }
    }
}

/* Sums of code * x over the n weights of a group, for x of float (f32) and of int8_t (i8). The digits of base 11 come
 * in threes: 1331 = 11^3, and numbers below 1331 are divided by 121 and by 11 in 32 bits. */

#define QI_DOTS(NAME, INPUT, SUM)                                                                                     \
    static inline SUM qi_three_##NAME(uint32_t v, const INPUT *x)                                                     \
    {                                                                                                                 \
        const uint32_t high = (v * 542u) >> 16, low = v - high * 121u, middle = (low * 5958u) >> 16;                  \
        return (SUM)(low - middle * 11u) * (SUM)x[0] + (SUM)middle * (SUM)x[1] + (SUM)high * (SUM)x[2];               \
    }                                                                                                                 \
                                                                                                                      \
    static inline SUM qi_digits_##NAME(const qi_matrix *m, const uint32_t *w, const INPUT *x, uint32_t n)             \
    {                                                                                                                 \
        SUM sum = 0;                                                                                                  \
        while (n) {                                                                                                   \
            uint32_t word = *w++, i = n < m->digits ? n : m->digits;                                                  \
            for (n -= i; i; i--) {                                                                                    \
                sum += (SUM)qi_digit(m, &word) * (SUM)(*x++);                                                         \
            }                                                                                                         \
        }                                                                                                             \
        return sum;                                                                                                   \
    }                                                                                                                 \
                                                                                                                      \
    static inline SUM qi_base11_##NAME(const qi_matrix *m, const uint32_t *w, const INPUT *x, uint32_t n)             \
    {                                                                                                                 \
        SUM sum = 0;                                                                                                  \
        for (; n >= 9u; n -= 9u, x += 9) {                                                                            \
            const uint32_t word = *w++, top = qi_mulhi(word, 3304317439u) >> 10;                                      \
            const uint32_t high = qi_mulhi(top, 3304317439u) >> 10;                                                   \
            sum += qi_three_##NAME(word - top * 1331u, x);                                                            \
            sum += qi_three_##NAME(top - high * 1331u, x + 3);                                                        \
            sum += qi_three_##NAME(high, x + 6);                                                                      \
        }                                                                                                             \
        return sum + qi_digits_##NAME(m, w, x, n);                                                                    \
    }                                                                                                                 \
                                                                                                                      \
    static inline SUM qi_base16_##NAME(const qi_matrix *m, const uint32_t *w, const INPUT *x, uint32_t n)             \
    {                                                                                                                 \
        SUM sum = 0;                                                                                                  \
        for (; n >= 8u; n -= 8u, x += 8) {                                                                            \
            const uint32_t v = *w++;                                                                                  \
            sum += (SUM)(v & 15u) * (SUM)x[0] + (SUM)((v >> 4) & 15u) * (SUM)x[1];                                    \
            sum += (SUM)((v >> 8) & 15u) * (SUM)x[2] + (SUM)((v >> 12) & 15u) * (SUM)x[3];                            \
            sum += (SUM)((v >> 16) & 15u) * (SUM)x[4] + (SUM)((v >> 20) & 15u) * (SUM)x[5];                           \
            sum += (SUM)((v >> 24) & 15u) * (SUM)x[6] + (SUM)(v >> 28) * (SUM)x[7];                                   \
        }                                                                                                             \
        return sum + qi_digits_##NAME(m, w, x, n);                                                                    \
    }                                                                                                                 \
                                                                                                                      \
    static inline SUM qi_base256_##NAME(const qi_matrix *m, const uint32_t *w, const INPUT *x, uint32_t n)            \
    {                                                                                                                 \
        SUM sum = 0;                                                                                                  \
        for (; n >= 4u; n -= 4u, x += 4) {                                                                            \
            const uint32_t v = *w++;                                                                                  \
            sum += (SUM)(v & 255u) * (SUM)x[0] + (SUM)((v >> 8) & 255u) * (SUM)x[1];                                  \
            sum += (SUM)((v >> 16) & 255u) * (SUM)x[2] + (SUM)(v >> 24) * (SUM)x[3];                                  \
        }                                                                                                             \
        return sum + qi_digits_##NAME(m, w, x, n);                                                                    \
    }                                                                                                                 \
                                                                                                                      \
    static inline SUM qi_dot_##NAME(const qi_matrix *m, const uint32_t *w, const INPUT *x, uint32_t n)                \
    {                                                                                                                 \
        switch (m->base) {                                                                                            \
        case 11u:                                                                                                     \
            return qi_base11_##NAME(m, w, x, n);                                                                      \
        case 16u:                                                                                                     \
            return qi_base16_##NAME(m, w, x, n);                                                                      \
        case 256u:                                                                                                    \
            return qi_base256_##NAME(m, w, x, n);                                                                     \
        default:                                                                                                      \
            return qi_digits_##NAME(m, w, x, n);                                                                      \
        }                                                                                                             \
    }

QI_DOTS(f32, float, float)
QI_DOTS(i8, int8_t, int32_t)

/* The sum of table[code] * x over a group. */
static inline float qi_table_dot(const qi_matrix *m, const uint32_t *table, const uint32_t *w, const float *x, uint32_t n)
{
    float sum = 0.0f;
    while (n) {
        uint32_t word = *w++, i = n < m->digits ? n : m->digits;
        for (n -= i; i; i--) {
            sum += qi_float(table[qi_digit(m, &word)]) * *x++;
        }
    }
    return sum;
}

/* A matrix times a vector: y[rows] = m * x[cols] + bias. `bias` is a place in the data or 0; `sums` is scratch for one
 * number a group of a row. */
static inline void qi_matvec_f32(const qi_matrix *m, const uint32_t *data, uint32_t bias, const float *x, float *sums,
                                 float *y)
{
    float total = 0.0f;
    uint32_t row, start, i, group;
    for (start = 0, group = 0; start < m->cols && m->base; start += m->group, group++) {
        const uint32_t n = m->cols - start < m->group ? m->cols - start : m->group;
        sums[group] = 0.0f;
        for (i = 0; i < n; i++) {
            sums[group] += x[start + i];
        }
        total += sums[group];
    }
    for (row = 0; row < m->rows; row++) {
        const uint32_t *codes = data + m->codes + (size_t)row * m->row_words;
        float scaled = 0.0f, shifted = m->fixed_offset * total;
        for (i = 0; i < m->cols && m->base == 0u; i++) {
            scaled += qi_float(codes[i]) * x[i];
        }
        for (start = 0, group = 0; start < m->cols && m->base; start += m->group, group++, codes += m->group_words) {
            const uint32_t n = m->cols - start < m->group ? m->cols - start : m->group;
            const uint32_t set = m->sets ? row * m->sets + group : 0u;
            const float zero = m->zero ? qi_param(data + m->zero, m->zero_type, set) : m->fixed_zero;
            const float dot = m->even ? qi_dot_f32(m, codes, x + start, n) - zero * sums[group]
                                      : qi_table_dot(m, data + m->table, codes, x + start, n);
            scaled += qi_param(data + m->scale, m->scale_type, set) * dot;
            if (m->offset) {
                shifted += qi_param(data + m->offset, m->scale_type, set) * sums[group];
            }
        }
        y[row] = (bias ? qi_float(data[bias + row]) : 0.0f) + m->unit * scaled + shifted;
    }
}

/* x as q * (the returned number), q from -127 to 127, rounded to the nearest, ties to even. */
static inline float qi_quantize_i8(const float *x, uint32_t n, int8_t *q)
{
    uint32_t largest = 0u, bits, i;
    float up, rounded;
    for (i = 0; i < n; i++) {
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7FFFFFFFu;
        largest = bits > largest ? bits : largest;
    }
    up = largest ? 127.0f / qi_float(largest) : 0.0f;
    for (i = 0; i < n; i++) {
        rounded = x[i] * up + 12582912.0f; /* 1.5 * 2^23: the last bit of the sum is worth 1 */
        memcpy(&bits, &rounded, sizeof bits);
        q[i] = (int8_t)((int32_t)((bits & 0xFFu) ^ 0x80u) - 128);
    }
    return qi_float(largest) / 127.0f;
}

/* As qi_matvec_f32, with x rounded to 8 bits and sums in integers: for cores without a floating-point unit. Only for
 * matrices with even levels and groups that cannot overflow 32 bits; model.c chooses. `q` is scratch for cols. */
static inline void qi_matvec_i8(const qi_matrix *m, const uint32_t *data, uint32_t bias, const float *x, int32_t *sums,
                                int8_t *q, float *y)
{
    const float step = qi_quantize_i8(x, m->cols, q);
    const int32_t fixed_zero = (int32_t)m->fixed_zero;
    float total = 0.0f;
    uint32_t row, start, i, group;
    for (start = 0, group = 0; start < m->cols; start += m->group, group++) {
        const uint32_t n = m->cols - start < m->group ? m->cols - start : m->group;
        sums[group] = 0;
        for (i = 0; i < n; i++) {
            sums[group] += q[start + i];
        }
        total += (float)sums[group];
    }
    total *= m->fixed_offset;
    for (row = 0; row < m->rows; row++) {
        const uint32_t *codes = data + m->codes + (size_t)row * m->row_words;
        float scaled = 0.0f, shifted = total;
        for (start = 0, group = 0; start < m->cols; start += m->group, group++, codes += m->group_words) {
            const uint32_t n = m->cols - start < m->group ? m->cols - start : m->group;
            const uint32_t set = m->sets ? row * m->sets + group : 0u;
            const int32_t zero = m->zero ? (int32_t)qi_entry(data + m->zero, m->zero_type, set) : fixed_zero;
            const int32_t dot = qi_dot_i8(m, codes, q + start, n) - zero * sums[group];
            scaled += qi_param(data + m->scale, m->scale_type, set) * (float)dot;
            if (m->offset) {
                shifted += qi_param(data + m->offset, m->scale_type, set) * (float)sums[group];
            }
        }
        y[row] = (bias ? qi_float(data[bias + row]) : 0.0f) + step * (m->unit * scaled + shifted);
    }
}

/* Between the layers; `x` and `y` may be the same. */

static inline void qi_relu(const float *x, float *y, uint32_t n)
{
    uint32_t i;
    for (i = 0; i < n; i++) {
        y[i] = x[i] > 0.0f ? x[i] : 0.0f;
    }
}

static inline void qi_add(const float *x, float *y, uint32_t n)
{
    uint32_t i;
    for (i = 0; i < n; i++) {
        y[i] += x[i];
    }
}

/* To mean 0 and variance 1, then times weight plus bias: places in the data, `bias` may be 0. */
static inline void qi_layernorm(const uint32_t *data, uint32_t weight, uint32_t bias, float eps, const float *x, float *y,
                                uint32_t n)
{
    float mean = 0.0f, variance = 0.0f, factor;
    uint32_t i;
    for (i = 0; i < n; i++) {
        mean += x[i];
    }
    mean /= (float)n;
    for (i = 0; i < n; i++) {
        const float centred = x[i] - mean;
        variance += centred * centred;
    }
    factor = 1.0f / qi_sqrt(variance / (float)n + eps);
    for (i = 0; i < n; i++) {
        y[i] = (x[i] - mean) * factor * qi_float(data[weight + i]) + (bias ? qi_float(data[bias + i]) : 0.0f);
    }
}

/* Updates over the air. */

/* CRC-32 of n words as the little-endian bytes of a file have it. */
static inline uint32_t qi_crc32(const uint32_t *words, uint32_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (; n; n--) {
        int bit;
        crc ^= *words++;
        for (bit = 0; bit < 32; bit++) {
            crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

/* Whether `available` words at `data`, such as a model.bin that was received, are a whole model of this layout. */
static inline int qi_check(const uint32_t *data, uint32_t available, uint32_t layout)
{
    if (available < QI_HEADER_WORDS || data[0] != QI_MAGIC) {
        return QI_NO_MODEL;
    }
    if (data[1] != QI_VERSION) {
        return QI_OTHER_VERSION;
    }
    if (data[2] != layout) {
        return QI_OTHER_LAYOUT;
    }
    if (data[3] < QI_HEADER_WORDS || data[3] > available ||
        data[4] != qi_crc32(data + QI_HEADER_WORDS, data[3] - QI_HEADER_WORDS)) {
        return QI_DAMAGED;
    }
    return QI_OK;
}

#endif
