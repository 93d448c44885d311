/* Bytes between the serial line's interrupts and the main loop. */
#ifndef SERIAL_H
#define SERIAL_H

#include <stdbool.h>
#include <stdint.h>

void serial_init(void);

/* In interrupts, by the HAL. */
void serial_on_received(uint8_t byte);
void serial_on_overrun(void);       /* the hardware lost a byte */
bool serial_on_ready(uint8_t *byte); /* the next byte to send; false: none */

/* In the main loop. */
bool serial_read(uint8_t *byte);
bool serial_waiting(void); /* received bytes are there; in interrupts, too */
uint8_t serial_room(void); /* how many bytes can be written */
bool serial_all_sent(void);
void serial_write(uint8_t byte); /* needs room */
uint16_t serial_overruns(void);

#endif
