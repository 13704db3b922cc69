#include "entropy/rans_model.hpp"

#include <algorithm>

namespace featherweight::rans {
namespace {

constexpr unsigned kMaxSplit = 8, kMaxSub = 2, kMaxDigits = 7, kSymbolBits = 20;
constexpr unsigned kFraction = 16;                        // bits of a logarithm behind the point
constexpr std::uint64_t kTime = 1u << (kFraction - 6);    // what a symbol with bits of its own costs beside them

// log2 of 1..4096 in 2^-16, cut off, bit by bit through squares of 32 bits that are cut off too.
struct Logarithms {
    std::array<std::uint32_t, kTotal + 1> of{};

    Logarithms() {
        for (std::uint32_t number = 1; number <= kTotal; ++number) {
            const unsigned whole = power_of(number);
            std::uint64_t mantissa = static_cast<std::uint64_t>(number) << (31 - whole);
            std::uint32_t fraction = 0;
            for (unsigned i = 0; i < kFraction; ++i) {
                mantissa = mantissa * mantissa >> 31;
                const std::uint64_t bit = mantissa >> 32;
                fraction = fraction << 1 | static_cast<std::uint32_t>(bit);
                mantissa >>= bit;
            }
            of[number] = whole << kFraction | fraction;
        }
    }
};

const Logarithms& logarithms() {
    static const Logarithms table;
    return table;
}

unsigned grade_of_weight(std::uint32_t weight, unsigned digits) {
    unsigned low = power_of(weight) > digits ? power_of(weight) - digits : 0;
    weight = std::min(weight + (1u << low >> 1), kTotal - 1);
    low = power_of(weight) > digits ? power_of(weight) - digits : 0;
    return (low << digits) + (weight >> low);
}

unsigned grade_of(std::uint64_t count, std::uint64_t total, unsigned digits) {
    if (count == 0) return 0;
    const std::uint64_t weight = (2 * kTotal * count + total) / (2 * total);
    return grade_of_weight(static_cast<std::uint32_t>(std::clamp<std::uint64_t>(weight, 1, kTotal - 1)), digits);
}

std::uint32_t weight_of(unsigned grade, unsigned digits) {
    const unsigned above = grade >> digits, low = above > 1 ? above - 1 : 0;
    return (grade - (low << digits)) << low;
}

int largest_grade(unsigned digits) { return static_cast<int>(grade_of_weight(kTotal - 1, digits)); }

// Fills model.frequencies; false for weights of which none is above 1.
bool set_frequencies(Model& model) {
    std::uint64_t room = kTotal, total = 0, before = 0;
    for (unsigned i = 0; i < model.classes; ++i) {
        if (model.grades[i] == 0) continue;
        --room;
        total += weight_of(model.grades[i], model.digits) - 1;
    }
    if (total == 0) return false;
    std::uint64_t share = 0;
    for (unsigned i = 0; i < model.classes; ++i) {
        model.frequencies[i] = 0;
        if (model.grades[i] == 0) continue;
        before += weight_of(model.grades[i], model.digits) - 1;
        const std::uint64_t next = before * room / total;
        model.frequencies[i] = static_cast<std::uint32_t>(1 + next - share);
        share = next;
    }
    return true;
}

// The grade that is expected at a place above 0.
int expected(const Model& model, unsigned place, int largest) {
    if (model.flat || place == 1) return model.grades[place - 1];
    const int near = model.grades[place - 2];
    if (place < 6) return near;
    const int change = near - model.grades[place - 6];
    return std::clamp(near + (change >= 0 ? change / 2 : -((1 - change) / 2)), 0, largest);
}

// The parameter of a Rice code, from the numbers that it wrote before.
class Rice {
public:
    unsigned k() const {
        unsigned k = 0;
        while (count_ << k < sum_) ++k;
        return k;
    }
    void learn(std::uint32_t number) {
        sum_ += number;
        if (++count_ == 16) {
            sum_ >>= 1;
            count_ = 8;
        }
    }

private:
    std::uint32_t sum_ = 4, count_ = 1;
};

// Gives every number of the table to `put(value, zeros, width)`: that many zero bits, then `width` bits of value.
template <class Put>
void walk_table(const Model& model, Put&& put) {
    put(model.split, 0, 4);
    put(model.sub, 0, 2);
    put(model.digits, 0, 3);
    put(model.flat, 0, 1);
    put(model.classes - 1, 0, 8);
    Rice rice;
    const int largest = largest_grade(model.digits);
    for (unsigned place = 0; place < model.classes;) {
        const int grade = model.grades[place];
        if (place == 0) {
            put(static_cast<std::uint32_t>(grade), 0, model.digits + 4u);
        } else {
            const int difference = grade - expected(model, place, largest);
            const auto folded = static_cast<std::uint32_t>(difference > 0 ? 2 * difference - 1 : -2 * difference);
            const unsigned k = rice.k();
            put(1u << k | (folded & ((1u << k) - 1)), folded >> k, k + 1);
            rice.learn(folded);
        }
        unsigned run = 1;
        if (grade == 0) {
            while (model.grades[place + run] == 0) ++run;  // ends: the last class has a grade above 0
            put(run, power_of(run), power_of(run) + 1);
        }
        place += run;
    }
}

std::uint64_t table_bits(const Model& model) {
    std::uint64_t bits = 0;
    walk_table(model, [&](std::uint32_t, std::uint32_t zeros, unsigned width) { bits += zeros + width; });
    return bits;
}

// The bins that are used, and how many symbols each has.
struct Used {
    unsigned size = 0;
    std::array<std::uint32_t, kBins> lowest;
    std::array<std::uint64_t, kBins> counts;
    std::uint64_t total = 0;
};

Used used_bins(const Bins& bins) {
    Used used;
    for (unsigned bin = 0; bin < kBins; ++bin) {
        if (bins[bin] == 0) continue;
        used.lowest[used.size] = bin < 256 ? bin : (4 + (bin & 3)) << (6 + (bin - 256) / 4);
        used.counts[used.size++] = bins[bin];
        used.total += bins[bin];
    }
    return used;
}

// Fills the model of these classes; gives what its symbols cost in 2^-16 bits.
std::uint64_t fit(const Used& used, unsigned split, unsigned sub, Model& model) {
    std::array<std::uint64_t, kMaxClasses> counts{};
    for (unsigned i = 0; i < used.size; ++i) counts[class_of(used.lowest[i], split, sub)] += used.counts[i];
    model.split = static_cast<std::uint8_t>(split);
    model.sub = static_cast<std::uint8_t>(sub);
    model.classes = class_of(used.lowest[used.size - 1], split, sub) + 1;
    const auto present = static_cast<std::uint64_t>(
        std::count_if(counts.begin(), counts.begin() + model.classes, [](std::uint64_t count) { return count != 0; }));
    unsigned bits = 0;
    for (std::uint64_t rest = used.total / present; rest != 0; rest >>= 1) ++bits;
    model.digits = static_cast<std::uint8_t>(bits < 4 ? 0 : std::min((bits - 4) / 2, kMaxDigits));
    for (unsigned i = 0; i < model.classes; ++i) {
        model.grades[i] = static_cast<std::uint16_t>(grade_of(counts[i], used.total, model.digits));
    }
    set_frequencies(model);
    std::uint64_t cost = 0;
    for (unsigned i = 0; i < model.classes; ++i) {
        if (counts[i] == 0) continue;
        const std::uint64_t own = class_at(i, split, sub).own;
        cost += counts[i] * (((own + kPrecision) << kFraction) - logarithms().of[model.frequencies[i]] + (own ? kTime : 0));
    }
    return cost;
}

// Bits of a table, highest first. What is behind the end reads as zeros and shows in `position`.
class Reader {
public:
    Reader(const std::uint8_t* data, std::uint64_t size) : data_(data), size_(size) {}

    std::uint64_t position() const { return position_; }
    bool overrun() const { return position_ > 8 * size_; }

    std::uint32_t take(unsigned width) {
        std::uint32_t value = 0;
        for (; width != 0; --width, ++position_) {
            const bool there = position_ >> 3 < size_;
            value = value << 1 | (there ? data_[position_ >> 3] >> (7 - (position_ & 7)) & 1u : 0u);
        }
        return value;
    }
    // How many zero bits come before the next one bit, which is read too; above `limit` if they are more, or at the end.
    std::uint32_t zeros(std::uint32_t limit) {
        std::uint32_t count = 0;
        while (take(1) == 0) {
            if (++count > limit || overrun()) break;
        }
        return count;
    }

private:
    const std::uint8_t* data_;
    std::uint64_t size_, position_ = 0;
};

Fault ans(const Reader& reader, std::int64_t value) { return {Code::ans, reader.position() / 8, value}; }

Fault read_grades(Reader& reader, Model& model) {
    Rice rice;
    const int largest = largest_grade(model.digits);
    for (unsigned place = 0; place < model.classes;) {
        int grade;
        if (place == 0) {
            grade = static_cast<int>(reader.take(model.digits + 4u));
        } else {
            const unsigned k = rice.k();
            const std::uint32_t limit = 2 * static_cast<std::uint32_t>(largest), high = reader.zeros(limit);
            if (reader.overrun()) return {};  // the caller sees it too
            if (high > limit) return ans(reader, high);
            const std::uint32_t folded = high << k | reader.take(k);
            rice.learn(folded);
            const int half = static_cast<int>((folded + 1) / 2);
            grade = expected(model, place, largest) + (folded & 1 ? half : -half);
        }
        if (reader.overrun()) return {};
        if (grade < 0 || grade > largest) return ans(reader, grade);
        std::uint32_t run = 1;
        if (grade == 0) {
            const std::uint32_t width = reader.zeros(kPrecision);
            if (reader.overrun()) return {};
            if (width > kPrecision) return ans(reader, width);
            run = 1u << width | reader.take(width);
            if (reader.overrun()) return {};
            if (run >= model.classes - place) return ans(reader, run);  // the last class has to occur
        }
        for (; run != 0; --run) model.grades[place++] = static_cast<std::uint16_t>(grade);
    }
    return {};
}

}  // namespace

bool Model::same_table(const Model& other) const {
    return split == other.split && sub == other.sub && digits == other.digits && flat == other.flat &&
           classes == other.classes && std::equal(grades.begin(), grades.begin() + classes, other.grades.begin());
}

Model choose(const Bins& bins) {
    const Used used = used_bins(bins);
    const std::uint32_t top = used.lowest[used.size - 1];
    const unsigned whole = top == 0 ? 0 : power_of(top) + 1;  // the smallest split without other classes
    Model best, model;
    std::uint64_t least = ~std::uint64_t{0};
    for (unsigned split = 0; split <= std::min(whole, kMaxSplit); ++split) {
        if (split == kMaxSplit && top >= 256) break;
        for (unsigned sub = 0; sub <= std::min(split, kMaxSub); ++sub) {
            const std::uint64_t symbols = fit(used, split, sub, model);
            if (symbols >= least) continue;
            for (const std::uint8_t flat : {0, 1}) {
                model.flat = flat;
                const std::uint64_t cost = symbols + (table_bits(model) << kFraction);
                if (cost >= least) continue;
                least = cost;
                best = model;
            }
        }
    }
    return best;
}

void write_table(const Model& model, std::vector<std::uint8_t>& out) {
    std::uint64_t rest = 0;
    unsigned filled = 0;  // bits of rest, 0..7 between numbers
    const auto flush = [&] {
        for (; filled >= 8; filled -= 8) out.push_back(static_cast<std::uint8_t>(rest >> (filled - 8)));
    };
    walk_table(model, [&](std::uint32_t value, std::uint32_t zeros, unsigned width) {
        for (; zeros > 8; zeros -= 8) {
            rest <<= 8;
            filled += 8;
            flush();
        }
        rest = rest << (zeros + width) | value;
        filled += zeros + width;
        flush();
    });
    rest <<= (8 - filled) & 7;
    filled += (8 - filled) & 7;
    flush();
}

Fault read_table(const std::uint8_t* data, std::uint64_t size, std::uint64_t alphabet, Model& model, std::uint64_t& end) {
    Reader reader(data, size);
    const Fault early{Code::count, size, static_cast<std::int64_t>(size)};
    model.split = static_cast<std::uint8_t>(reader.take(4));
    model.sub = static_cast<std::uint8_t>(reader.take(2));
    model.digits = static_cast<std::uint8_t>(reader.take(3));
    model.flat = static_cast<std::uint8_t>(reader.take(1));
    model.classes = reader.take(8) + 1;
    if (reader.overrun()) return early;
    if (model.split > kMaxSplit || model.sub > std::min<unsigned>(model.split, kMaxSub)) return ans(reader, model.split);
    const unsigned last = model.classes - 1;
    if (last >= (1u << model.split) + ((kSymbolBits - model.split) << model.sub)) return {Code::index, 0, last};
    if (class_at(last, model.split, model.sub).lowest >= alphabet) return {Code::index, 0, last};
    const Fault fault = read_grades(reader, model);
    if (reader.overrun()) return early;
    if (fault) return fault;
    const auto unused = static_cast<unsigned>((8 - (reader.position() & 7)) & 7);
    if (reader.take(unused) != 0) return {Code::padding, reader.position() / 8 - 1, 0};
    if (!set_frequencies(model)) return ans(reader, 0);
    end = reader.position() / 8;
    return {};
}

}  // namespace featherweight::rans
