/* $title
 *
 * Written by qinspect; change nothing by hand.
 */
#include "model.h"

/* The fields stand in the order of qinspect.h. */
$matrices

$forward