/* Vectors of a Cortex-M, and what comes before the C library's own start. */
#include <stdint.h>

extern uint32_t stack_top;
extern void _start(void);

void reset(void);

void reset(void)
{
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* let the floating-point unit run */
    __asm volatile("dsb\nisb");
#endif
    _start();
}

static void hang(void)
{
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top, (const void *)reset, (const void *)hang, (const void *)hang, (const void *)hang,
    (const void *)hang, (const void *)hang};
