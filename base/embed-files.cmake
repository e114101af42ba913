# SPDX-License-Identifier: Apache-2.0
# Turns FILES, a list of PATH=FILE below ROOT, into the C file OUT: the table ui_files of
# service/http/ui-file.h, which has each file as it is and compressed. gzip -n leaves time and name
# out, so that the same files make the same executable.
set(arrays "")
set(table "")
set(number 0)

function(bytes_of file name)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  set(arrays "${arrays}static const char ${name}[] = {${bytes}0};\n" PARENT_SCOPE)
endfunction()

set(html text/html)
set(js text/javascript)
set(mjs text/javascript)
set(css text/css)
set(svg image/svg+xml)
foreach(entry IN LISTS FILES)
  string(REGEX MATCH "^([^=]*)=(.*)\\.([a-z]+)$" matched "${entry}")
  set(path "${CMAKE_MATCH_1}")
  set(file ${ROOT}/${CMAKE_MATCH_2}.${CMAKE_MATCH_3})
  set(type ${${CMAKE_MATCH_3}})
  if(NOT type)
    message(FATAL_ERROR "${entry}: what type has it?")
  endif()
  execute_process(COMMAND gzip -9 -n -c ${file} OUTPUT_FILE ${OUT}.gz COMMAND_ERROR_IS_FATAL ANY)
  bytes_of(${file} text_${number})
  bytes_of(${OUT}.gz gzip_${number})
  string(APPEND table "    {\"${path}\", \"${type}\", text_${number}, sizeof(text_${number}) - 1, "
         "gzip_${number}, sizeof(gzip_${number}) - 1},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(REMOVE ${OUT}.gz)
file(WRITE ${OUT} "#include \"service/http/ui-file.h\"\n${arrays}const struct ui_file ui_files[] = {\n${table}};\n"
     "const size_t ui_files_count = ${number};\n")
