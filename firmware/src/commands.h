/* Requests and their replies. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "frame.h"

#define COMMANDS_LONGEST_REPLY (34u + FRAME_OVERHEAD)

void commands_send_boot(void);

/* Do what a request asks for and reply; the serial line has room for COMMANDS_LONGEST_REPLY. */
void commands_handle(struct frame const *request, struct frame_parser const *counters);

/* Send a record, where there is one and nothing else waits. */
void commands_send_record(void);

#endif
