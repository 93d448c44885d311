#include "commands.h"

#include "errors.h"
#include "hal.h"
#include "lens.h"
#include "records.h"
#include "serial.h"
#include "stepper.h"
#include "table.h"
#include "wire.h"

enum { PROTOCOL_MAJOR = 1, PROTOCOL_MINOR = 0 };
enum { FIRMWARE_MAJOR = 1, FIRMWARE_MINOR = 0, FIRMWARE_PATCH = 0 };
enum { CAN_ANALOGUE = 1, CAN_STEPPER = 2, CAN_SYNC = 4, CAN_HOME = 8 };

enum request {
    IDENTIFY = 0x01,
    CONFIGURE,
    GET_CONFIGURATION,
    HOME,
    GO_TO,
    TABLE_BEGIN,
    TABLE_DATA,
    TABLE_END,
    START,
    STOP,
    PARK,
    TIME,
    STATUS,
    TELEMETRY,
    SAMPLE,
};

enum unasked { BOOT = 0xC0, RECORD = 0xC1 };

#define REPLY 0x80u
#define REFUSAL 0xFFu

enum { IDENTITY_SIZE = 20, TIME_SIZE = 16, STATUS_SIZE = 34 };

static uint8_t unasked_sequence;

static uint64_t now_us(void)
{
    return hal_counts() / COUNTS_PER_US;
}

static void encode_identity(uint8_t *to)
{
    for (char const *letter = "EDFV"; *letter; letter++)
        to = wire_write_u8(to, (uint8_t)*letter);
    to = wire_write_u8(to, PROTOCOL_MAJOR);
    to = wire_write_u8(to, PROTOCOL_MINOR);
    to = wire_write_u8(to, FIRMWARE_MAJOR);
    to = wire_write_u8(to, FIRMWARE_MINOR);
    to = wire_write_u8(to, FIRMWARE_PATCH);
    to = wire_write_u8(to, HAL_HARDWARE_ATMEGA328P);
    to = wire_write_u16(to, CAN_ANALOGUE | CAN_STEPPER | CAN_SYNC | CAN_HOME);
    to = wire_write_u16(to, TABLE_CAPACITY);
    to = wire_write_u16(to, ANALOGUE_TICK_COUNTS / COUNTS_PER_US);
    to = wire_write_u16(to, STEPPER_HIGHEST_SPEED);
    to = wire_write_u8(to, hal_reset_cause());
    wire_write_u8(to, 0);
}

static void encode_status(uint8_t *to, struct frame_parser const *counters)
{
    struct lens_status const status = lens_status();
    to = wire_write_u8(to, status.state);
    to = wire_write_u8(to, status.flags);
    to = wire_write_u16(to, status.set_point);
    to = wire_write_u16(to, status.position);
    to = wire_write_u64(to, now_us());
    to = wire_write_u16(to, counters->wrong_crcs);
    to = wire_write_u16(to, counters->wrong_lengths);
    to = wire_write_u16(to, serial_overruns());
    to = wire_write_u16(to, status.records_lost);
    to = wire_write_u16(to, status.watchdog_trips);
    to = wire_write_u16(to, (uint16_t)status.steps_lost);
    to = wire_write_u32(to, status.turns);
    to = wire_write_u16(to, status.late_ticks);
    wire_write_u16(to, counters->skipped);
}

/* Length that the payload of a request must have; -1: no such request, -2: points. */
static int8_t payload_length(uint8_t type)
{
    switch (type) {
    case IDENTIFY:
    case GET_CONFIGURATION:
    case HOME:
    case TABLE_END:
    case STOP:
    case PARK:
    case TIME:
    case STATUS:
    case SAMPLE:
        return 0;
    case GO_TO:
    case TELEMETRY:
        return 2;
    case TABLE_BEGIN:
    case START:
        return 6;
    case CONFIGURE:
        return LENS_CONFIGURATION_SIZE;
    case TABLE_DATA:
        return -2;
    default:
        return -1;
    }
}

static enum error check_length(struct frame const *request)
{
    int8_t const length = payload_length(request->type);
    if (length == -1)
        return ERROR_UNKNOWN;
    if (length == -2)
        return request->length >= 4 && request->length % 2 == 0 ? ERROR_NONE : ERROR_LENGTH;
    return request->length == length ? ERROR_NONE : ERROR_LENGTH;
}

/* Requests that change something; their replies are empty. */
static enum error obey(struct frame const *request)
{
    uint8_t const *const payload = request->payload;
    switch (request->type) {
    case CONFIGURE:
        return lens_configure(payload);
    case HOME:
        return lens_home();
    case GO_TO:
        return lens_go_to(wire_read_u16(payload));
    case TABLE_BEGIN:
        return lens_table_begin(wire_read_u16(payload), wire_read_u16(payload + 2), wire_read_u16(payload + 4));
    case TABLE_DATA:
        return lens_table_add(wire_read_u16(payload), payload + 2, (uint8_t)(request->length / 2 - 1));
    case TABLE_END:
        return lens_table_end();
    case START:
        return lens_start(wire_read_u32(payload), wire_read_u16(payload + 4));
    case STOP:
        return lens_stop();
    case PARK:
        return lens_park();
    case TELEMETRY:
        return lens_sample_every(wire_read_u16(payload));
    default:
        return ERROR_NONE;
    }
}

/* Returns the reply's length. */
static uint8_t answer(uint8_t type, uint64_t received_us, struct frame_parser const *counters, uint8_t *reply)
{
    struct record record;
    switch (type) {
    case IDENTIFY:
        encode_identity(reply);
        return IDENTITY_SIZE;
    case CONFIGURE:
    case GET_CONFIGURATION:
        lens_encode_configuration(reply);
        return LENS_CONFIGURATION_SIZE;
    case TIME:
        wire_write_u64(wire_write_u64(reply, received_us), now_us());
        return TIME_SIZE;
    case STATUS:
        encode_status(reply, counters);
        return STATUS_SIZE;
    case SAMPLE:
        record = lens_sample();
        record_encode(&record, reply);
        return RECORD_SIZE;
    default:
        return 0;
    }
}

void commands_handle(struct frame const *request, struct frame_parser const *counters)
{
    uint64_t const received_us = now_us();
    uint8_t reply[STATUS_SIZE];
    lens_feed_watchdog();
    enum error error = check_length(request);
    if (error == ERROR_NONE)
        error = obey(request);
    if (error != ERROR_NONE) {
        reply[0] = request->type;
        reply[1] = (uint8_t)error;
        frame_send(REFUSAL, request->sequence, reply, 2);
        return;
    }
    uint8_t const length = answer(request->type, received_us, counters, reply);
    frame_send((uint8_t)(request->type | REPLY), request->sequence, reply, length);
}

void commands_send_boot(void)
{
    uint8_t identity[IDENTITY_SIZE];
    encode_identity(identity);
    unasked_sequence = 0;
    frame_send(BOOT, unasked_sequence++, identity, IDENTITY_SIZE);
}

void commands_send_record(void)
{
    struct record record;
    uint8_t payload[RECORD_SIZE];
    if (!serial_all_sent() || !records_take(&record))
        return;
    record_encode(&record, payload);
    frame_send(RECORD, unasked_sequence++, payload, RECORD_SIZE);
}
