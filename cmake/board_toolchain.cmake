# Builds for the boards' older systems: GCC 14 of Debian 13 against the libraries of Debian 12 (glibc 2.36), both
# unpacked by scripts/package. Wants FINCH_CROSS (the folder that holds them) and FINCH_TRIPLET in the environment.
set(CMAKE_SYSTEM_NAME Linux)
string(REGEX REPLACE "-.*" "" CMAKE_SYSTEM_PROCESSOR $ENV{FINCH_TRIPLET})
set(CMAKE_LIBRARY_ARCHITECTURE $ENV{FINCH_TRIPLET})

set(tools $ENV{FINCH_CROSS}/bin/$ENV{FINCH_TRIPLET})
set(CMAKE_C_COMPILER ${tools}-gcc)
set(CMAKE_CXX_COMPILER ${tools}-g++)
foreach(tool AR RANLIB STRIP OBJCOPY READELF NM)
  string(TOLOWER ${tool} name)
  set(CMAKE_${tool} ${tools}-${name} CACHE FILEPATH "")
endforeach()

set(CMAKE_SYSROOT $ENV{FINCH_CROSS}/sysroot)
set(CMAKE_FIND_ROOT_PATH ${CMAKE_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
foreach(mode LIBRARY INCLUDE PACKAGE)
  set(CMAKE_FIND_ROOT_PATH_MODE_${mode} ONLY)
endforeach()
