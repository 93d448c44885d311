/* CRC-16/IBM-3740: polynomial 0x1021, initial value 0xFFFF, not reflected. */
#ifndef CRC16_H
#define CRC16_H

#include <stdint.h>

#define CRC16_START 0xFFFFu

uint16_t crc16_add(uint16_t crc, uint8_t byte);

#endif
