#include "device.h"

#include "commands.h"
#include "frame.h"
#include "hal.h"
#include "lens.h"
#include "records.h"
#include "serial.h"

#define CUT_OFF_COUNTS (20u * COUNTS_PER_MS)

static struct frame_parser parser;
static uint64_t last_byte_counts;

void device_start(void)
{
    serial_init();
    records_init();
    frame_parser_init(&parser);
    lens_init();
    commands_send_boot();
}

static bool room_for_reply(void)
{
    return serial_room() >= COMMANDS_LONGEST_REPLY;
}

/* Handle whole frames; false: one waits until there is room for its reply. */
static bool handle_frames(void)
{
    struct frame frame;
    while (frame_next(&parser, &frame)) {
        if (!room_for_reply())
            return false;
        commands_handle(&frame, &parser);
        frame_done(&parser);
    }
    return true;
}

void device_poll(void)
{
    uint8_t byte;
    bool any = false;
    bool all_handled = handle_frames();
    while (all_handled && serial_read(&byte)) {
        any = true;
        frame_add(&parser, byte);
        all_handled = handle_frames();
    }
    if (any) {
        last_byte_counts = hal_counts();
    } else if (all_handled && parser.filled > 0 && hal_counts() - last_byte_counts > CUT_OFF_COUNTS) {
        for (bool first = true; all_handled && frame_cut_off(&parser, first); first = false)
            all_handled = handle_frames();
    }
    commands_send_record();
}
