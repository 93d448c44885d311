#include "serial.h"

#include "hal.h"
#include "wire.h"

/* 256 bytes each, so that the indices wrap by themselves. One side of each only writes `head`, the other `tail`. */
static volatile uint8_t received[256], to_send[256];
static volatile uint8_t received_head, received_tail, send_head, send_tail;
static uint16_t overruns;

void serial_init(void)
{
    received_head = received_tail = send_head = send_tail = 0;
    overruns = 0;
}

void serial_on_received(uint8_t byte)
{
    uint8_t const next = (uint8_t)(received_head + 1);
    if (next == received_tail) {
        count_up(&overruns, 1);
        return;
    }
    received[received_head] = byte;
    received_head = next;
}

void serial_on_overrun(void)
{
    count_up(&overruns, 1);
}

bool serial_on_ready(uint8_t *byte)
{
    if (send_tail == send_head)
        return false;
    *byte = to_send[send_tail];
    send_tail = (uint8_t)(send_tail + 1);
    return true;
}

bool serial_read(uint8_t *byte)
{
    if (received_tail == received_head)
        return false;
    *byte = received[received_tail];
    received_tail = (uint8_t)(received_tail + 1);
    return true;
}

bool serial_waiting(void)
{
    return received_tail != received_head;
}

uint8_t serial_room(void)
{
    return (uint8_t)(send_tail - send_head - 1);
}

bool serial_all_sent(void)
{
    return send_tail == send_head;
}

void serial_write(uint8_t byte)
{
    to_send[send_head] = byte;
    send_head = (uint8_t)(send_head + 1);
    hal_send_bytes();
}

uint16_t serial_overruns(void)
{
    hal_lock_state const lock = hal_lock();
    uint16_t const count = overruns;
    hal_unlock(lock);
    return count;
}
