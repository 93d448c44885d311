/* A microcontroller that is not there: time, pins and the line are what the fuzzer says. */
#ifndef HAL_HOST_H
#define HAL_HOST_H

#include <stdbool.h>
#include <stdint.h>

void host_advance(uint32_t counts); /* ticks and pulse edges happen on the way */
void host_set_home_input(bool level);
uint32_t host_take_sent(uint8_t *to, uint32_t room); /* bytes the device has sent */

#endif
