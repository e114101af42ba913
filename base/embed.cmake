# SPDX-License-Identifier: Apache-2.0
# Turns the file IN into a C array NAME[] (with a terminating zero) and its length NAME_bytes, in OUT.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "#include <stddef.h>\nextern const char ${NAME}[];\nextern const size_t ${NAME}_bytes;\n"
  "const char ${NAME}[] = {${bytes}0};\nconst size_t ${NAME}_bytes = sizeof(${NAME}) - 1;\n")
