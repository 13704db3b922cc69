// The whole test framework: CHECK counts and tells, the main of a test returns failures().
#pragma once

#include <cstdio>

namespace check {

inline int& failures() {
    static int count = 0;
    return count;
}

inline bool that(bool holds, const char* what, const char* file, int line) {
    if (!holds && ++failures() <= 20) std::fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    return holds;
}

// Numbers that are the same on every machine (splitmix64; Steele, Lea and Flood, 2014).
class Random {
  public:
    explicit Random(unsigned long long seed) : state_(seed) {}
    unsigned long long next() {
        unsigned long long z = (state_ += 0x9e3779b97f4a7c15ULL);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    unsigned long long below(unsigned long long bound) { return next() % bound; }

  private:
    unsigned long long state_;
};

}  // namespace check

#define CHECK(condition) check::that(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
