#include "model.h"
#include <stdio.h>

static float row[$cols];

static void words(uint32_t at, uint32_t n)
{
    fwrite(model_data + at, sizeof *model_data, n, stdout);
}

static void matrix(const qi_matrix *m)
{
    uint32_t i;
    for (i = 0; i < m->rows; i++) {
        qi_decode_row(m, model_data, i, row);
        fwrite(row, sizeof *row, m->cols, stdout);
    }
}

int main(void)
{
    words(0, MODEL_WORDS);
$calls
    return 0;
}
