/* The waveform: one period in equal steps of time, as the host uploads it. */
#ifndef TABLE_H
#define TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

#define TABLE_CAPACITY 256u
#define TABLE_NO_NEAR_TURN 0xFFFFu

extern uint16_t table_points[TABLE_CAPACITY];

void table_forget(void);
bool table_there(void);
uint16_t table_length(void);
uint16_t table_near_turn(void); /* index, or TABLE_NO_NEAR_TURN */

enum error table_begin(uint16_t length, uint16_t near_turn, uint16_t crc);
enum error table_add(uint16_t first, uint8_t const *points, uint8_t count, uint16_t low, uint16_t high);
enum error table_end(void);

#endif
