// A malloc that fails when a test asks for it. It is preloaded (LD_PRELOAD), and a test calls the functions at the end of this file.
//
// An allocation counts if it has at least the size that was asked for, and if the code that called the allocator lies in the library that was
// named. The one whose number was asked for fails, once: malloc and its kin give a null pointer, operator new throws std::bad_alloc.
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

// The allocator of the C library, under the names that nobody interposes.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace {

std::atomic<uintptr_t> begin{0}, end{0};
std::atomic<size_t> least{0};
std::atomic<long> wanted{0}, reached{0}, failed{0};
std::atomic<bool> tell{false};

// Whether this allocation is the one that fails.
bool fails(size_t size, void* caller) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(caller);
  if (size < least.load(std::memory_order_relaxed) || at < begin.load() || at >= end.load()) return false;
  if (++reached != wanted.load()) return false;
  ++failed;
  if (tell.load()) {
    void* frames[40];
    backtrace_symbols_fd(frames, backtrace(frames, 40), STDERR_FILENO);
  }
  errno = ENOMEM;
  return true;
}

void* made(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

struct Range {
  const char* name;
  uintptr_t begin, end;
};

// The addresses of the loaded library whose path holds a name.
int look(dl_phdr_info* info, size_t, void* data) {
  Range* range = static_cast<Range*>(data);
  if (info->dlpi_name == nullptr || strstr(info->dlpi_name, range->name) == nullptr) return 0;
  range->begin = UINTPTR_MAX;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    if (from < range->begin) range->begin = from;
    if (from + info->dlpi_phdr[i].p_memsz > range->end) range->end = from + info->dlpi_phdr[i].p_memsz;
  }
  return 1;
}

}  // namespace

#define CALLER __builtin_return_address(0)

extern "C" {

void* malloc(size_t size) { return fails(size, CALLER) ? nullptr : __libc_malloc(size); }

void* calloc(size_t count, size_t size) { return fails(count * size, CALLER) ? nullptr : __libc_calloc(count, size); }

void* realloc(void* old, size_t size) { return fails(size, CALLER) ? nullptr : __libc_realloc(old, size); }

void* memalign(size_t alignment, size_t size) { return fails(size, CALLER) ? nullptr : __libc_memalign(alignment, size); }

void* aligned_alloc(size_t alignment, size_t size) { return fails(size, CALLER) ? nullptr : __libc_memalign(alignment, size); }

int posix_memalign(void** out, size_t alignment, size_t size) {
  void* block = fails(size, CALLER) ? nullptr : __libc_memalign(alignment, size);
  if (block == nullptr) return ENOMEM;
  *out = block;
  return 0;
}

}  // extern "C"

void* operator new(size_t size) { return made(fails(size, CALLER) ? nullptr : __libc_malloc(size)); }
void* operator new[](size_t size) { return made(fails(size, CALLER) ? nullptr : __libc_malloc(size)); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return fails(size, CALLER) ? nullptr : __libc_malloc(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return fails(size, CALLER) ? nullptr : __libc_malloc(size); }
void* operator new(size_t size, std::align_val_t alignment) {
  return made(fails(size, CALLER) ? nullptr : __libc_memalign(static_cast<size_t>(alignment), size));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return made(fails(size, CALLER) ? nullptr : __libc_memalign(static_cast<size_t>(alignment), size));
}

extern "C" {

// Counts from nothing the allocations of at least `size` bytes by the library whose path holds `library`, and makes number `number` fail,
// from 1; 0 is none. Gives 0 where no such library is loaded. `told` writes the calls that led to the one that fails.
int failing_malloc_ask(const char* library, size_t size, long number, int told) {
  Range range{library, 0, 0};
  end.store(0);
  void* frames[4];
  backtrace(frames, 4);  // It allocates when it is called first.
  const int found = dl_iterate_phdr(look, &range);
  least.store(size);
  wanted.store(number);
  reached.store(0);
  failed.store(0);
  tell.store(told != 0);
  begin.store(range.begin);
  end.store(range.end);
  return found;
}

// Counts and fails nothing more.
void failing_malloc_stop() { end.store(0); }

long failing_malloc_reached() { return reached.load(); }

long failing_malloc_failed() { return failed.load(); }

}  // extern "C"
