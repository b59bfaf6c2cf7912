/* Ticks of the processor's clock for one product of the layer with float inputs and with 8-bit inputs. */
#include "model.h"

#include <stdio.h>

#define SYSTICK ((volatile uint32_t *)0xE000E010u)

static float x[MEASURED_COLS], y[MEASURED_ROWS], sums[MEASURED_COLS / 8];
static int32_t sums_i8[MEASURED_COLS / 8];
static int8_t q[MEASURED_COLS];

static uint32_t now(void)
{
    return 0xFFFFFFu - SYSTICK[2];
}

int main(void)
{
    uint32_t i, start, f32, i8;
    for (i = 0; i < MEASURED_COLS; i++) {
        x[i] = (float)i - 100.0f;
    }
    SYSTICK[1] = 0xFFFFFFu;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5;
    start = now();
    qi_matvec_f32(&model_fc_weight, model_data, 0u, x, sums, y);
    f32 = (now() - start) & 0xFFFFFFu;
    start = now();
    qi_matvec_i8(&model_fc_weight, model_data, 0u, x, sums_i8, q, y);
    i8 = (now() - start) & 0xFFFFFFu;
    printf("%lu %lu\n", (unsigned long)f32, (unsigned long)i8);
    return 0;
}
