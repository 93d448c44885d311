#include "dac.h"

#include "hal.h"

/* The upper four bits of the frame: channel A, unbuffered reference, gain 1, and awake. */
#define GAIN_1 0x2000u
#define AWAKE 0x1000u

void dac_write(uint16_t code)
{
    hal_write_dac((uint16_t)(GAIN_1 | AWAKE | code >> 4));
}

void dac_release(void)
{
    hal_write_dac(GAIN_1);
}
