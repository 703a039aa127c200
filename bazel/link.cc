// Keeps libtftrt.so among what a program needs. A linker that is told --as-needed, as many compilers tell it, leaves a library out
// to which nothing refers; so this refers to it.

extern "C" const char* tftrt_built_for_tensorflow();

extern "C" {
extern const char* (*const volatile tftrt_is_linked)();
const char* (*const volatile tftrt_is_linked)() = &tftrt_built_for_tensorflow;
}
