// The stand-in for a GPU: runs the blocks of a kernel one after another, each thread of a block as a fibre.
//
// Fibres run until they wait: first one warp, lane by lane, until all its lanes wait for other warps or have left, then
// the next. When no warp can go on, all threads must stand at the same barrier; else they wait for ever, and that is
// reported. What hardware leaves open is done in three ways (Order): in which order blocks, warps and lanes run, and
// when asynchronous copies arrive: as late as possible, at once, or by chance.
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "stand_in_numbers.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

namespace stand_in {
const uint3* thread_index;
uint3 block_index, block_size, grid_size;
char* dynamic_shared;

namespace {
constexpr size_t STACK = 256 << 10, STACK_GUARD = 1 << 20, PAGE = 4096, GUARD = 16 << 20;
constexpr int THREADS = 1024;
enum State : char { READY, AT_BARRIER, IN_WARP, LEFT };
enum Order { UP, DOWN, SHUFFLED };
enum Arrival { LATE, AT_ONCE, BY_CHANCE };

struct Copy {
    char* target;
    const void* source;
    int bytes;
    bool valid;
};
struct Thread {
    uint3 index;
    State state;
    bool begun = false;
    jmp_buf context;
    char* stack = nullptr;
    int vote;
    unsigned mask;
    Work work;
    Lane given;
    const char *what, *file;
    int line;
    std::vector<Copy> copies;
    std::vector<size_t> groups;  // where in copies each group ends
};
Thread threads[THREADS];
int count;  // threads of the block
Thread* current;
jmp_buf scheduler;
sigjmp_buf failure;
std::string message;
bool running;
int votes;
Order order;
uint64_t chance;
void (*body)(void**);
void** body_arguments;

unsigned random_number() {
    chance ^= chance << 13, chance ^= chance >> 7, chance ^= chance << 17;
    return static_cast<unsigned>(chance >> 33);
}

std::string format(const char* text, ...) {
    char buffer[512];
    va_list values;
    va_start(values, text);
    vsnprintf(buffer, sizeof buffer, text, values);
    va_end(values);
    return buffer;
}
const char* base_name(const char* path) {
    const char* slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
std::string name_of(const Thread& thread) {
    return format("thread (%u, %u, %u) of block (%u, %u, %u)", thread.index.x, thread.index.y, thread.index.z,
                  block_index.x, block_index.y, block_index.z);
}
std::string state_of(const Thread& thread) {
    if (thread.state == LEFT) return name_of(thread) + " has left the kernel";
    return name_of(thread) + format(" waits in %s at %s:%d", thread.what, base_name(thread.file), thread.line);
}
[[noreturn]] void fail(const std::string& sentence) {
    message = sentence;
    siglongjmp(failure, 1);
}

// ------------------------------------------------------------------ memory with guards

// [start, start + size) lies between pages that nobody may touch; what is left of its own pages holds 0xFF.
struct Region {
    std::string name;
    char *reserved, *pages, *start;
    size_t reserved_size, pages_size, size;
};
std::vector<Region> regions;

Region reserve(const std::string& name, size_t size, size_t offset, bool at_end, size_t alignment = 16) {
    Region region{name, nullptr, nullptr, nullptr, 0, 0, size};
    region.pages_size = (size + alignment + PAGE - 1) / PAGE * PAGE;
    region.reserved_size = region.pages_size + 2 * GUARD;
    region.reserved = static_cast<char*>(
        mmap(nullptr, region.reserved_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (region.reserved == MAP_FAILED) fail("no memory for " + name);
    region.pages = region.reserved + GUARD;
    mprotect(region.pages, region.pages_size, PROT_READ | PROT_WRITE);
    memset(region.pages, 0xff, region.pages_size);
    const size_t last = region.pages_size - size;  // the start that leaves nothing behind the end
    region.start = region.pages + (at_end ? last - (last + alignment - offset) % alignment : offset);
    return region;
}
bool spoiled(const Region& region) {
    for (char* p = region.pages; p < region.pages + region.pages_size; ++p)
        if ((p < region.start || p >= region.start + region.size) && *p != '\xff') return true;
    return false;
}

std::string place_of(const char* address) {
    for (const Region& region : regions) {
        if (address < region.reserved || address >= region.reserved + region.reserved_size) continue;
        if (address < region.start) return format("%ld bytes before ", long(region.start - address)) + region.name;
        if (address >= region.start + region.size)
            return format("%ld bytes behind the end of ", long(address - region.start - region.size)) + region.name;
        return region.name + ", which is read-only,";
    }
    for (int i = 0; i < count; ++i)
        if (threads[i].stack && address >= threads[i].stack - STACK_GUARD && address < threads[i].stack)
            return "the end of a thread's stack";
    return format("%p, which is no memory of the kernel", address);
}

void on_signal(int number, siginfo_t* information, void*) {
    if (!running || !current) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    if (number == SIGFPE) message = name_of(*current) + " divides an integer by 0";
    else message = name_of(*current) + " reaches " + place_of(static_cast<char*>(information->si_addr));
    siglongjmp(failure, 1);
}

// ------------------------------------------------------------------ fibres

void yield() {
    if (!_setjmp(current->context)) _longjmp(scheduler, 1);
}
void fibre() {
    for (;;) {
        body(body_arguments);
        current->state = LEFT;
        yield();
    }
}
void run(Thread& thread) {
    current = &thread;
    thread_index = &thread.index;
    if (_setjmp(scheduler)) return;
    if (thread.begun) _longjmp(thread.context, 1);
    thread.begun = true;
    if (!thread.stack) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        char* memory = static_cast<char*>(mmap(nullptr, STACK + STACK_GUARD, PROT_READ | PROT_WRITE, flags, -1, 0));
        mprotect(memory, STACK_GUARD, PROT_NONE);
        thread.stack = memory + STACK_GUARD;
    }
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = thread.stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, fibre, 0);
    setcontext(&context);
}

void wait(State state, const char* what, const char* file, int line) {
    current->state = state, current->what = what, current->file = file, current->line = line;
    yield();
}

// ------------------------------------------------------------------ the lanes of a warp

// Lets the lanes of one mask go on if all have come; whether any did.
bool open_warp(int first) {
    const int lanes = std::min(32, count - first);
    for (int l = 0; l < lanes; ++l) {
        Thread& one = threads[first + l];
        if (one.state != IN_WARP) continue;
        Lane given[32] = {};
        bool all = true;
        for (int k = 0; k < lanes && all; ++k) {
            Thread& other = threads[first + k];
            if (!(one.mask >> k & 1) || other.state == LEFT) continue;
            all = other.state == IN_WARP && other.mask == one.mask;
            if (all && (other.work != one.work || strcmp(other.what, one.what)))
                fail("lanes of a warp meet in different operations: " + state_of(one) + ", " + state_of(other));
            given[k] = other.given;
            given[k].present = true;
        }
        if (!all) continue;
        one.work(given);
        for (int k = 0; k < lanes; ++k)
            if (given[k].present) threads[first + k].state = READY;
        return true;
    }
    return false;
}

template <class T> void exchange_of(Lane (&lanes)[32]) {
    for (Lane& lane : lanes) {
        if (!lane.present) continue;
        const Lane* source = lane.number >= 0 && lane.number < 32 ? &lanes[lane.number] : nullptr;
        if (source && source->present) memcpy(lane.out, source->in, sizeof(T));
        else memset(lane.out, 0xff, sizeof(T));  // a lane that is not there has nothing to give
    }
}

void load_matrices_of(Lane (&lanes)[32], bool transposed) {
    const int matrices = lanes[0].number;
    for (int l = 0; l < 8 * matrices; ++l)
        if (reinterpret_cast<uintptr_t>(lanes[l].in) % 16)
            fail(name_of(*current) + ": ldmatrix of a row that is not aligned to 16 bytes");
    for (int l = 0; l < 32; ++l)
        for (int m = 0; m < matrices; ++m) {
            uint16_t pair[2];
            for (int e = 0; e < 2; ++e) {
                int row = l / 4, column = 2 * (l % 4) + e;
                if (transposed) std::swap(row, column);
                memcpy(&pair[e], static_cast<const char*>(lanes[8 * m + row].in) + 2 * column, 2);
            }
            static_cast<unsigned*>(lanes[l].out)[m] = pair[0] | unsigned(pair[1]) << 16;
        }
}
void load_straight(Lane (&lanes)[32]) { load_matrices_of(lanes, false); }
void load_transposed(Lane (&lanes)[32]) { load_matrices_of(lanes, true); }

struct Fragments {
    const unsigned *a, *b;
};
float element(unsigned bits, int half, Format format) {
    if (format == TF32) return __uint_as_float(bits & 0xffffe000u);
    const unsigned short part = static_cast<unsigned short>(half ? bits >> 16 : bits);
    return format == BF16 ? __uint_as_float(unsigned(part) << 16) : float_of_half(part);
}
// Tensor cores cut off what float32 cannot hold of d + Σ a b; they do not round.
float cut(double value) {
    float result = static_cast<float>(value);
    if (isfinite(result) && fabs(static_cast<double>(result)) > fabs(value)) result = nextafterf(result, 0);
    return result;
}
void mma_of(Lane (&lanes)[32], Format format) {
    const int per_register = format == TF32 ? 1 : 2, depth = 8 * per_register;
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; ++l) {
        const Fragments* given = static_cast<const Fragments*>(lanes[l].in);
        for (int e = 0; e < per_register; ++e) {
            const int place = per_register * (l % 4) + e;
            for (int i = 0; i < 4; ++i)
                a[l / 4 + 8 * (i % 2)][place + depth / 2 * (i / 2)] = element(given->a[i], e, format);
            for (int i = 0; i < 2; ++i) b[place + depth / 2 * i][l / 4] = element(given->b[i], e, format);
        }
    }
    for (int l = 0; l < 32; ++l)
        for (int i = 0; i < 4; ++i) {
            const int row = l / 4 + 8 * (i / 2), column = 2 * (l % 4) + i % 2;
            float& d = static_cast<float*>(lanes[l].out)[i];
            double sum = d;
            for (int k = 0; k < depth; ++k) sum += double(a[row][k]) * double(b[k][column]);
            d = cut(sum);
        }
}
void mma_tf32_of(Lane (&lanes)[32]) { mma_of(lanes, TF32); }
void mma_bf16_of(Lane (&lanes)[32]) { mma_of(lanes, BF16); }
void mma_f16_of(Lane (&lanes)[32]) { mma_of(lanes, F16); }

// ------------------------------------------------------------------ blocks

void arrange(std::vector<int>& places) {
    if (order == SHUFFLED)
        for (size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[random_number() % i]);
}
std::vector<int> in_order(int n) {
    std::vector<int> places(n);
    for (int i = 0; i < n; ++i) places[i] = order == DOWN ? n - 1 - i : i;
    arrange(places);
    return places;
}

void run_block() {
    for (int i = 0; i < count; ++i) {
        threads[i].state = READY;
        threads[i].copies.clear();
        threads[i].groups.clear();
    }
    std::vector<int> warps = in_order((count + 31) / 32), lanes = in_order(32);
    for (;;) {
        for (int warp : warps) {
            do {
                for (int lane : lanes)
                    if (const int i = 32 * warp + lane; i < count && threads[i].state == READY) run(threads[i]);
            } while (open_warp(32 * warp));
        }
        const Thread *waiting = nullptr, *left = nullptr, *other = nullptr;  // other: does not wait where waiting does
        for (int i = 0; i < count; ++i) {
            const Thread& thread = threads[i];
            if (thread.state == LEFT) left = &thread;
            else if (!waiting) waiting = &thread;
            else if (thread.state != waiting->state || thread.line != waiting->line ||
                     strcmp(thread.what, waiting->what))
                other = &thread;
        }
        if (!waiting) return;
        if (!other) other = left;  // hardware lets the others go on; here whoever skips a barrier has a fault
        if (waiting->state != AT_BARRIER || other) {
            const std::string rest = other ? ", " + state_of(*other) : " for lanes that it cannot meet";
            fail("deadlock: " + state_of(*waiting) + rest);
        }
        votes = 0;
        for (int i = 0; i < count; ++i)
            if (threads[i].state == AT_BARRIER) votes += threads[i].vote, threads[i].state = READY;
        arrange(warps);
        arrange(lanes);
    }
}

void land(const Copy& copy) {
    if (copy.valid) memcpy(copy.target, copy.source, copy.bytes);
    else memset(copy.target, 0, copy.bytes);
}
}  // namespace

void fail(const char* sentence) { fail(name_of(*current) + ": " + sentence); }

int barrier(const char* what, int vote, const char* file, int line) {
    current->vote = vote;
    wait(AT_BARRIER, what, file, line);
    return votes;
}
int lane() { return static_cast<int>(current - threads) % 32; }
void meet(unsigned mask, Work work, const void* in, void* out, int number, const char* what, const char* file,
          int line) {
    if (!(mask >> lane() & 1))
        fail(format("%s at %s:%d with a mask without the calling lane", what, base_name(file), line).c_str());
    current->mask = mask, current->work = work, current->given = {in, out, number, true};
    wait(IN_WARP, what, file, line);
}
void exchange_4(Lane (&lanes)[32]) { exchange_of<uint32_t>(lanes); }
void exchange_8(Lane (&lanes)[32]) { exchange_of<uint64_t>(lanes); }
void nothing(Lane (&)[32]) {}
void vote(Lane (&lanes)[32]) {
    unsigned result = 0;
    for (int l = 0; l < 32; ++l)
        if (lanes[l].present && *static_cast<const int*>(lanes[l].in)) result |= 1u << l;
    for (Lane& lane : lanes)
        if (lane.present) memcpy(lane.out, &result, sizeof result);
}

void copy_async(char* target, const void* source, bool valid, int bytes) {
    if (reinterpret_cast<uintptr_t>(target) % bytes) fail("cp.async to shared memory that is not aligned to its size");
    if (valid && reinterpret_cast<uintptr_t>(source) % bytes)
        fail("cp.async from an address that is not aligned to its size");
    const Copy copy{target, source, bytes, valid};
    if (order == DOWN || (order == SHUFFLED && random_number() % 2)) land(copy);
    else current->copies.push_back(copy);
}
void copy_async_commit() { current->groups.push_back(current->copies.size()); }
void copy_async_wait(int newest) {
    auto& groups = current->groups;
    auto& copies = current->copies;
    if (groups.size() <= static_cast<size_t>(newest)) return;
    const size_t arrived = groups[groups.size() - 1 - newest];
    for (size_t i = 0; i < arrived; ++i) land(copies[i]);
    copies.erase(copies.begin(), copies.begin() + arrived);
    groups.erase(groups.begin(), groups.end() - newest);
    for (size_t& end : groups) end -= arrived;
}

void load_matrices(unsigned* registers, int count, const char* row, bool transposed, const char* file, int line) {
    meet(~0u, transposed ? load_transposed : load_straight, row, registers, count, "ldmatrix", file, line);
}
void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Format format, const char* file, int line) {
    const Fragments given{a, b};
    const Work work = format == TF32 ? mma_tf32_of : format == BF16 ? mma_bf16_of : mma_f16_of;
    meet(~0u, work, &given, d, 0, "mma", file, line);
}

void* thread_variables(void* anchor, size_t* size) {
    struct Search {
        char* anchor;
        char* found;
        size_t size;
    } search{static_cast<char*>(anchor), nullptr, 0};
    dl_iterate_phdr(
        [](dl_phdr_info* object, size_t, void* given) {
            Search& search = *static_cast<Search*>(given);
            char* data = static_cast<char*>(object->dlpi_tls_data);
            for (int i = 0; i < object->dlpi_phnum; ++i) {
                const auto& segment = object->dlpi_phdr[i];
                if (segment.p_type == PT_TLS && data && search.anchor >= data && search.anchor < data + segment.p_memsz)
                    search.found = data, search.size = segment.p_memsz;
            }
            return 0;
        },
        &search);
    *size = search.size;
    return search.found;
}
}  // namespace stand_in

// ---------------------------------------------------------------------- what g++ calls for -fsanitize=bounds,alignment

struct SanitizerPlace {
    const char* file;
    unsigned line, column;
};
extern "C" void __ubsan_handle_out_of_bounds(SanitizerPlace* place, uintptr_t index) {
    using namespace stand_in;
    fail(format("index %ld beyond an array at %s:%u", long(index), base_name(place->file), place->line).c_str());
}
extern "C" void __ubsan_handle_type_mismatch_v1(SanitizerPlace* place, uintptr_t address) {
    using namespace stand_in;
    fail(format("address %#lx is not aligned as its type needs at %s:%u", long(address), base_name(place->file),
                place->line).c_str());
}

// ---------------------------------------------------------------------- what Python calls

extern "C" {
// Memory for an argument, whose start is `offset` bytes past a multiple of 16.
void* stand_in_reserve(const char* name, size_t size, size_t offset, int at_end) {
    using namespace stand_in;
    if (sigsetjmp(failure, 0)) return nullptr;
    regions.push_back(reserve(name, size, offset, at_end));
    return regions.back().start;
}
void stand_in_protect(int region) {
    mprotect(stand_in::regions[region].pages, stand_in::regions[region].pages_size, PROT_READ);
}
void stand_in_free() {
    for (auto& region : stand_in::regions) munmap(region.reserved, region.reserved_size);
    stand_in::regions.clear();
}

// Runs the kernel; null, or a sentence that says what it did wrong.
const char* stand_in_launch(void (*kernel)(void**), void** arguments, const unsigned* grid, const unsigned* block,
                            size_t dynamic_bytes, int chosen_order, uint64_t seed, void* variables,
                            size_t variables_size) {
    using namespace stand_in;
    body = kernel, body_arguments = arguments;
    grid_size = {grid[0], grid[1], grid[2]}, block_size = {block[0], block[1], block[2]};
    count = static_cast<int>(block[0] * block[1] * block[2]);
    order = static_cast<Order>(chosen_order), chance = seed * 0x9e3779b97f4a7c15ull + 1;
    for (int i = 0; i < count; ++i) {
        const unsigned n = static_cast<unsigned>(i);
        threads[i].index = {n % block[0], n / block[0] % block[1], n / (block[0] * block[1])};
    }
    static char signal_stack[1 << 16];
    stack_t alternative{}, before{};
    alternative.ss_sp = signal_stack, alternative.ss_size = sizeof signal_stack;
    sigaltstack(&alternative, &before);
    struct sigaction action {}, old[3];
    action.sa_sigaction = on_signal, action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    const int signals[3] = {SIGSEGV, SIGBUS, SIGFPE};
    for (int i = 0; i < 3; ++i) sigaction(signals[i], &action, &old[i]);
    message.clear(), current = nullptr, running = true;
    if (!sigsetjmp(failure, 1)) {
        regions.push_back(reserve("the dynamic shared memory", dynamic_bytes, 0, true, 128));
        dynamic_shared = regions.back().start;
        for (int number : in_order(static_cast<int>(grid[0] * grid[1] * grid[2]))) {
            const unsigned n = static_cast<unsigned>(number);
            block_index = {n % grid[0], n / grid[0] % grid[1], n / (grid[0] * grid[1])};
            memset(dynamic_shared, 0xff, regions.back().size);
            memset(variables, 0xff, variables_size);
            run_block();
        }
        for (const Region& region : regions)
            if (spoiled(region)) message = "the kernel wrote outside of " + region.name;
    } else {
        for (Thread& thread : threads) thread.begun = false;  // fibres were left where they stood
    }
    running = false;
    for (int i = 0; i < 3; ++i) sigaction(signals[i], &old[i], nullptr);
    sigaltstack(&before, nullptr);
    return message.empty() ? nullptr : message.c_str();
}
}
