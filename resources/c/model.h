/* $title
 *
 * Written by qinspect together with model.c; change neither by hand. README.md says how to build and call this.
 */
#ifndef MODEL_H
#define MODEL_H

#include "qinspect.h"

#if QI_VERSION != ${version}u
#error "this model needs version ${version} of qinspect.h"
#endif

#define MODEL_WORDS ${words}u /* $data_bytes bytes */
#define MODEL_LAYOUT ${layout}u
#define MODEL_CRC32 ${crc}u
$sizes
#ifdef __cplusplus
extern "C" {
#endif

/* All weights; the bytes with which model.bin begins. */
extern const uint32_t model_data[MODEL_WORDS];

$declarations
#ifdef __cplusplus
}
#endif

#endif
