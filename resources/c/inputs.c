static float x[$cols], y[$rows], sums[$groups];
static int32_t sums_i8[$groups];
static int8_t q[$cols];

/* Inputs from -1 to 1, the same on every machine. */
static void generate(uint32_t n)
{
    uint32_t state = 1u, i;
    for (i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = ((float)(state >> 16) - 32768.0f) / 32768.0f;
    }
}
