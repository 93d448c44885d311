/* Why a request is refused; the numbers are those of PROTOCOL.md. */
#ifndef ERRORS_H
#define ERRORS_H

enum error {
    ERROR_NONE,
    ERROR_UNKNOWN,
    ERROR_LENGTH,
    ERROR_VALUE,
    ERROR_LIMIT,
    ERROR_BUSY,
    ERROR_UNCONFIGURED,
    ERROR_NOT_HOMED,
    ERROR_NO_TABLE,
    ERROR_INCOMPLETE,
    ERROR_CHECKSUM,
    ERROR_FAULT,
};

#endif
