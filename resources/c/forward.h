/* Memory that a call of model_forward needs, $scratch_bytes bytes; what is in it does not matter. */
typedef struct model_scratch {
$buffers    union {
        float f32[$groups];
        int32_t i8[$groups];
    } sums;
    int8_t q[$cols];
} model_scratch;

/* y[MODEL_OUTPUTS] of x[MODEL_INPUTS]. `data` is model_data, or another model that qi_check accepted. */
void model_forward(const uint32_t *data, const float *x, float *y, model_scratch *scratch);

/* The same with the inputs of quantized layers rounded to 8 bits: faster without a floating-point unit. */
void model_forward_i8(const uint32_t *data, const float *x, float *y, model_scratch *scratch);
