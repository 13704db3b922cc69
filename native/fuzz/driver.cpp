// Stands in for libFuzzer where the compiler has none: random changes of what a corpus and chance bring, without
// knowledge of the code. Understands -max_total_time=S -seed=N -max_len=N, and names of files or folders as corpus.
// A crash is the sanitizer's to tell; the input that was running then lies in crash-<seed>-<run> of the current folder.

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "../tests/check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
#if defined(__SANITIZE_ADDRESS__)
extern "C" void __sanitizer_set_death_callback(void (*callback)());
#endif

namespace {

using Input = std::vector<std::uint8_t>;

struct Options {
    double seconds = 20;
    unsigned long long seed = 1;
    std::size_t max_len = 4096;
    std::vector<Input> corpus;
};

Input read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return Input(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

Options parse(int count, char** words) {
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word.rfind("-max_total_time=", 0) == 0) {
            options.seconds = std::atof(word.c_str() + 16);
        } else if (word.rfind("-seed=", 0) == 0) {
            options.seed = std::strtoull(word.c_str() + 6, nullptr, 10);
        } else if (word.rfind("-max_len=", 0) == 0) {
            options.max_len = std::strtoull(word.c_str() + 9, nullptr, 10);
        } else if (word[0] != '-' && std::filesystem::is_directory(word)) {
            for (const auto& entry : std::filesystem::directory_iterator(word)) {
                options.corpus.push_back(read(entry.path()));
            }
        } else if (word[0] != '-') {
            options.corpus.push_back(read(word));
        }
    }
    if (options.corpus.empty()) options.corpus.emplace_back(64, std::uint8_t{0});
    return options;
}

// One to eight small changes: a bit, a byte, a number, a cut, a repetition, a piece of another input.
void mutate(Input& input, const Options& options, check::Random& random) {
    for (unsigned long long change = 1 + random.below(8); change > 0; --change) {
        const std::size_t at = input.empty() ? 0 : random.below(input.size());
        switch (input.empty() ? 3 : random.below(7)) {
            case 0: input[at] ^= static_cast<std::uint8_t>(1u << random.below(8)); break;
            case 1: input[at] = static_cast<std::uint8_t>(random.next()); break;
            case 2: input[at] = random.below(2) != 0 ? 0xff : 0x00; break;
            case 3: input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), 1 + random.below(16),
                                 static_cast<std::uint8_t>(random.next())); break;
            case 4: input.resize(at); break;
            case 5: input.erase(input.begin() + static_cast<std::ptrdiff_t>(at)); break;
            default: {
                const Input& other = options.corpus[random.below(options.corpus.size())];
                for (std::size_t i = at; i < input.size() && i - at < 32 && i < other.size(); ++i) input[i] = other[i];
            }
        }
    }
    if (input.size() > options.max_len) input.resize(options.max_len);
}

// What is running: for the moment of death.
Input running;
unsigned long long running_seed, runs;

void tell() {
    const std::string path = "crash-" + std::to_string(running_seed) + "-" + std::to_string(runs);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(running.data()), static_cast<std::streamsize>(running.size()));
    std::fprintf(stderr, "the input is in %s\n", path.c_str());
}

void run(Input input) {
    running = std::move(input);
    ++runs;
    LLVMFuzzerTestOneInput(running.data(), running.size());
}

}  // namespace

int main(int count, char** words) {
    const Options options = parse(count, words);
    const auto start = std::chrono::steady_clock::now();
    check::Random random(options.seed);
    running_seed = options.seed;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback(tell);
#endif
    std::signal(SIGABRT, [](int) { tell(); });
    for (const Input& input : options.corpus) run(input);
    double seconds = 0;
    while (seconds < options.seconds) {
        for (int i = 0; i < 64; ++i) {
            Input input = options.corpus[random.below(options.corpus.size())];
            mutate(input, options, random);
            run(std::move(input));
        }
        seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    std::printf("%s: %llu inputs in %.1f s, no fault\n", words[0], runs, seconds);
    return 0;
}
