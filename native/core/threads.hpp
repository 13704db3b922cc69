// Splits work over a few threads; without a thread pool, since a batch takes milliseconds and a start microseconds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <system_error>
#include <thread>
#include <vector>

namespace featherweight {

constexpr unsigned kMaxThreads = 256;

// Calls part(first, last) for consecutive ranges that together are 0..items, on at most `threads` threads, this one
// included; ranges begin at multiples of `grain`. `part` must not throw. A thread that the system refuses costs time only.
template <class Part>
void parallel(unsigned threads, std::size_t items, std::size_t grain, const Part& part) {
    const std::size_t grains = (items + grain - 1) / grain;
    const std::size_t count = std::min<std::size_t>({std::max(threads, 1u), kMaxThreads, std::max<std::size_t>(grains, 1)});
    const auto begin = [&](std::size_t i) { return std::min(items, (grains / count * i + std::min(i, grains % count)) * grain); };
    std::vector<std::thread> started;
    started.reserve(count - 1);
    std::size_t next = 1;
    try {
        for (; next < count; ++next) started.emplace_back(part, begin(next), begin(next + 1));
    } catch (const std::system_error&) {
        part(begin(next), items);
    }
    part(begin(0), begin(1));
    for (std::thread& thread : started) thread.join();
}

}  // namespace featherweight
