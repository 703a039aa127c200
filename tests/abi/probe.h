// What the Itanium C++ ABI makes of TensorRT's headers, as lines "kind<TAB>class<TAB>member<TAB>value" on stdout.
// test_tensorrt_abi.py writes the main program: one macro a row of abi.tsv. A value is a number, "-" (the headers have no such
// member) or "ambiguous" (they have it overloaded, or not public: the row needs the exact type).

#include "NvInfer.h"
#include "NvOnnxParser.h"
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

template <class T>
struct Tag {
  using type = T;
};

inline void report(const char* kind, const char* cls, const char* member, long value) {
  std::printf("%s\t%s\t%s\t%ld\n", kind, cls, member, value);
}

inline void report(const char* kind, const char* cls, const char* member, const char* value) {
  std::printf("%s\t%s\t%s\t%s\n", kind, cls, member, value);
}

// A pointer to a virtual member function is two words: 1 + 8 * slot, and the adjustment of `this`, which is 0 with single bases.
template <class Pointer>
long slot_of(Pointer pointer) {
  std::intptr_t words[2];
  static_assert(sizeof pointer == sizeof words);
  std::memcpy(words, &pointer, sizeof words);
  return words[1] == 0 && words[0] % 8 == 1 ? (words[0] - 1) / 8 : -1;
}

// `Both::MEMBER` is one thing only where TYPE has nothing of that name.
#define SLOT(TYPE, CLASS, MEMBER)                                 \
  [](auto tag) {                                                  \
    using T = typename decltype(tag)::type;                       \
    struct Name {                                                 \
      int MEMBER;                                                 \
    };                                                            \
    struct Both : T, Name {};                                     \
    if constexpr (requires { &T::MEMBER; }) {                     \
      report("slot", CLASS, #MEMBER, slot_of(&T::MEMBER));        \
    } else if constexpr (requires { &Both::MEMBER; }) {           \
      report("slot", CLASS, #MEMBER, "-");                        \
    } else {                                                      \
      report("slot", CLASS, #MEMBER, "ambiguous");                \
    }                                                             \
  }(Tag<TYPE>{})

// One of several of a name; SIGNATURE is a pointer to a member of T.
#define OVERLOAD(TYPE, CLASS, ROW, MEMBER, ...)                                 \
  [](auto tag) {                                                                \
    using T = typename decltype(tag)::type;                                     \
    using Pointer = __VA_ARGS__;                                                \
    if constexpr (requires { static_cast<Pointer>(&T::MEMBER); }) {             \
      report("slot", CLASS, ROW, slot_of(static_cast<Pointer>(&T::MEMBER)));    \
    } else {                                                                    \
      report("slot", CLASS, ROW, "-");                                          \
    }                                                                           \
  }(Tag<TYPE>{})

#define ENUMERATOR(TYPE, CLASS, MEMBER)                                    \
  [](auto tag) {                                                           \
    using T = typename decltype(tag)::type;                                \
    if constexpr (requires { T::MEMBER; }) {                               \
      report("enum", CLASS, #MEMBER, static_cast<long>(T::MEMBER));        \
    } else {                                                               \
      report("enum", CLASS, #MEMBER, "-");                                 \
    }                                                                      \
  }(Tag<TYPE>{})

// No pointer leads to a destructor, so one is called: on an object whose vtable is these functions, which say where they stand.
inline int called = -1;

template <int N>
void stand_at() {
  called = N;
}

template <int... N>
const void* const* fake_vtable(std::integer_sequence<int, N...>) {
  static const void* const entries[] = {reinterpret_cast<const void*>(&stand_at<N>)...};
  return entries;
}

template <class T>
long deleting_slot() {
  struct {
    const void* const* vtable;
    void* rest[7];
  } object = {fake_vtable(std::make_integer_sequence<int, 64>{}), {}};
  called = -1;
  // Through a volatile pointer: the compiler must not reason about what the object is.
  T* volatile pointer = reinterpret_cast<T*>(&object);
  delete pointer;
  return called;
}

#define DELETING(TYPE, CLASS) report("slot", CLASS, "(deleting destructor)", deleting_slot<TYPE>())

// Where an API object keeps the object that does the work.
#define IMPLEMENTATION(TYPE, CLASS)                                           \
  {                                                                           \
    struct Open : TYPE {                                                      \
      static long at() { return static_cast<long>(offsetof(Open, mImpl)); }   \
    };                                                                        \
    report("offset", CLASS, "mImpl", Open::at());                             \
  }

#define VALUE(KIND, CLASS, MEMBER, ...) report(KIND, CLASS, MEMBER, static_cast<long>(__VA_ARGS__))
