/* A 12-bit converter of the kind MCP4921 (or channel A of an MCP4922). */
#ifndef DAC_H
#define DAC_H

#include <stdint.h>

/* In interrupts. */
void dac_write(uint16_t code);
void dac_release(void);

#endif
