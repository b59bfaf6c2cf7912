/* $title: checks on the device that the model computes what it did where it was made; prints PASS. */
#include "model.h"

#include <stdio.h>

/* The largest difference, as a share of the largest value, that rounding may cause. */
#define TOLERANCE_F32 1e-4f
#define TOLERANCE_I8 5e-3f

static int failures = 0;

static void check(const char *what, const float *found, const float *meant, uint32_t n, float tolerance)
{
    float largest = 1e-30f, worst = 0.0f;
    uint32_t i;
    for (i = 0; i < n; i++) {
        const float difference = found[i] < meant[i] ? meant[i] - found[i] : found[i] - meant[i];
        const float magnitude = meant[i] < 0.0f ? -meant[i] : meant[i];
        largest = magnitude > largest ? magnitude : largest;
        worst = difference <= worst ? worst : difference; /* a NaN stays */
    }
    if (worst <= tolerance * largest) {
        printf("ok    %s, off by %ld millionths of the largest value\n", what, (long)(1e6f * worst / largest));
    } else {
        printf("WRONG %s\n", what);
        failures++;
    }
}

$vectors
int main(void)
{
    if (qi_check(model_data, MODEL_WORDS, MODEL_LAYOUT) != QI_OK) {
        printf("WRONG the data are damaged\n");
        failures++;
    }
$checks    printf(failures ? "FAIL\n" : "PASS\n");
    return failures ? 1 : 0;
}
